"""The verification in three layers, as the verify page shows them: what each step found, or that it has not ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedchest.audit.report import Outcome, Verdict
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


@dataclass(frozen=True)
class Finding:
    """One wrong thing: what, where (file, round, institution), and what was expected and found where it is known."""

    what: str
    where: Mapping[str, str | int]
    expected: str | None = None
    found: str | None = None


@dataclass(frozen=True)
class Step:
    """One step: a Verdict's value or another word for having none, and what it counted or why it was not checked."""

    name: str
    verdict: str
    detail: str
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Layer:
    """One layer: its name, what it shows when all of it passed, its steps."""

    name: str
    claim: str
    steps: Sequence[Step]

    @property
    def verdict(self) -> str:
        """The worst of the steps' verdicts; that one has none yet comes right after a failure."""
        found = {step.verdict for step in self.steps}
        none_yet = sorted(found - set(Verdict))
        ranked = (Verdict.FAILED, *none_yet, Verdict.NOT_CHECKED, Verdict.PASSED)
        return next(verdict for verdict in ranked if verdict in found)


def layers(outcomes: Sequence[Outcome], without_outcome: str) -> list[Layer]:
    """The layers with what is known of their steps, `without_outcome` standing for the verdict of the others."""
    ended = {outcome.step: outcome for outcome in outcomes}
    return [
        Layer(name, claim, [_step(step, ended.get(step), without_outcome) for step in steps])
        for name, (claim, steps) in _with_all_steps().items()
    ]


def _with_all_steps() -> dict[str, tuple[str, tuple[str, ...]]]:
    """A step that belongs to no layer is shown in one of its own rather than left out."""
    placed = {step for _, steps in _LAYERS.values() for step in steps}
    rest = tuple(step for step in STEPS if step not in placed)
    return {**_LAYERS, **({"other": ("Further steps.", rest)} if rest else {})}


def _step(name: str, outcome: Outcome | None, without_outcome: str) -> Step:
    if outcome is None:
        return Step(name, without_outcome, "", ())
    if outcome.verdict is Verdict.FAILED:
        return Step(name, outcome.verdict, "", (Finding(outcome.detail, outcome.where),))
    return Step(name, outcome.verdict, outcome.detail, ())
