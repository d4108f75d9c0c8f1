"""The verification in three layers, as the verify page shows them: what each step found, or that it has not ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedchest.audit.report import Outcome
from fedchest.audit.verify import STEPS

_LAYERS = {
    "chain": (
        "The blocks are what every party recorded, and the contract decided by its rules.",
        ("journals", "completeness", "contract", "lineage", "attestations", "credits"),
    ),
    "artifacts": (
        "Every file is the one whose hash is on the chain.",
        ("artifacts", "records", "results"),
    ),
    "computation": (
        "Refusals, models and epsilon are the same when computed again.",
        ("refusals", "aggregation", "epsilon"),
    ),
}
WAITING = "waiting"


@dataclass(frozen=True)
class StepView:
    """One step: how it ended (a Verdict's value, or WAITING), what it found, and where."""

    name: str
    verdict: str
    detail: str = ""
    where: Mapping[str, str | int] | None = None


@dataclass(frozen=True)
class Layer:
    """One layer: its name, what it shows when all of it passed, its steps."""

    name: str
    claim: str
    steps: Sequence[StepView]

    @property
    def verdict(self) -> str:
        """The worst of the steps' verdicts."""
        found = {step.verdict for step in self.steps}
        return next(verdict for verdict in ("failed", WAITING, "not checked", "passed") if verdict in found)


def layers(outcomes: Sequence[Outcome]) -> list[Layer]:
    """The three layers with what is known of their steps."""
    ended = {outcome.step: outcome for outcome in outcomes}
    return [
        Layer(name, claim, [_view(step, ended.get(step)) for step in steps])
        for name, (claim, steps) in _with_all_steps().items()
    ]


def _with_all_steps() -> dict[str, tuple[str, tuple[str, ...]]]:
    """A step that belongs to no layer is shown in one of its own rather than left out."""
    placed = {step for _, steps in _LAYERS.values() for step in steps}
    rest = tuple(step for step in STEPS if step not in placed)
    return {**_LAYERS, **({"other": ("Further steps.", rest)} if rest else {})}


def _view(name: str, outcome: Outcome | None) -> StepView:
    if outcome is None:
        return StepView(name, WAITING)
    return StepView(name, outcome.verdict.value, outcome.detail, outcome.where)
