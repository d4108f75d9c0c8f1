"""The verification in three layers, as the verify page shows them: what each step found, or that it has not ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedchest.audit.report import Finding, Layer, Outcome, Verdict
from fedchest.audit.verify import LAYERS

_CLAIMS = {
    Layer.CHAIN: "The blocks are what every party recorded, and the contract decided by its rules.",
    Layer.ARTIFACTS: "Every file is the one whose hash is on the chain.",
    Layer.COMPUTATION: "Refusals, models, epsilon and credits are the same when computed again.",
}


@dataclass(frozen=True)
class StepView:
    """One step: a Verdict's value or another word for having none, and what it counted or why it was not checked."""

    name: str
    verdict: str
    detail: str
    findings: Sequence[Finding]


@dataclass(frozen=True)
class LayerView:
    """One layer: its name, what it shows when all of it passed, its steps."""

    name: str
    claim: str
    steps: Sequence[StepView]

    @property
    def verdict(self) -> str:
        """The worst of the steps' verdicts; that one has none yet comes right after a failure."""
        found = {step.verdict for step in self.steps}
        none_yet = sorted(found - set(Verdict))
        ranked = (Verdict.FAILED, *none_yet, Verdict.NOT_CHECKED, Verdict.PASSED)
        return next(verdict for verdict in ranked if verdict in found)


def layers(outcomes: Iterable[Outcome], without_outcome: str) -> list[LayerView]:
    """The layers with what is known of their steps, `without_outcome` standing for the verdict of the others."""
    ended = {outcome.step: outcome for outcome in outcomes}
    return [
        LayerView(layer, _CLAIMS[layer], [_step(name, ended.get(name), without_outcome) for name in steps])
        for layer, steps in LAYERS.items()
    ]


def _step(name: str, outcome: Outcome | None, without_outcome: str) -> StepView:
    if outcome is None:
        return StepView(name, without_outcome, "", ())
    detail = "" if outcome.findings else outcome.detail
    return StepView(name, outcome.verdict, detail, outcome.findings)
