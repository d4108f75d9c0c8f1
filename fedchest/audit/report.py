"""What a verification finds: three layers of steps, one outcome a step, and how a step says that something is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from typing import Any

SOMETHING_WRONG, NOT_EVERYTHING_CHECKED = 1, 3
"""Exit statuses of an audit that could be run."""


class Layer(StrEnum):
    """What a step looks at; each layer rests on the one before it."""

    CHAIN = "chain"
    ARTIFACTS = "artifacts"
    COMPUTATION = "computation"


class Verdict(StrEnum):
    """How a step ended. A step that did not run, or not to its end, is never `passed`."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """One wrong thing. `what` is a clause; `file` is relative to the run directory; the rest as far as it is known."""

    what: str
    file: str | None = None
    round: int | None = None
    institution: int | None = None
    expected: str | None = None
    found: str | None = None

    @property
    def where(self) -> Mapping[str, str | int]:
        """File, round and institution, as far as they are known."""
        places = {"file": self.file, "round": self.round, "institution": self.institution}
        return {key: value for key, value in places.items() if value is not None}

    def __str__(self) -> str:
        places = [str(value) if key == "file" else f"{key} {value}" for key, value in self.where.items()]
        text = f"{', '.join(places)}: {self.what}" if places else self.what
        return (
            text if self.expected is None else f"{text} (expected {self.expected}; found {self.found or '-'})"
        )


class Faults(Exception):
    """Things in the run that are wrong, at least one."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(map(str, findings)))
        self.findings = tuple(findings)

    @property
    def where(self) -> Mapping[str, str | int]:
        """Where the first of them is."""
        return self.findings[0].where


class Fault(Faults):
    """One wrong thing. `what` is a clause; what was expected and found is shown as `readable` gives it."""

    def __init__(
        self,
        what: str,
        *,
        expected: object,
        found: object,
        file: str | None = None,
        round: int | None = None,
        institution: int | None = None,
    ) -> None:
        super().__init__([Finding(what, file, round, institution, readable(expected), readable(found))])


class NotChecked(Exception):
    """A step can't be carried out; the text says because of what."""


class Pruned(NotChecked):
    """Artifacts that a step needs are listed as pruned: the rest of the step goes on without them."""

    def __init__(self, missing: Mapping[bytes, int]) -> None:
        """`missing`: each one's digest, and its round."""
        rounds = ", ".join(map(str, sorted(set(missing.values()))))
        super().__init__(f"{len(missing)} artifacts of round {rounds} were pruned; the rest is right")
        self.missing = missing


def readable(value: object) -> str:
    """A value as a report shows it: hashes in hexadecimal, phases and reasons by name."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return value.name if isinstance(value, IntEnum) else str(value)


@dataclass(frozen=True)
class Outcome:
    """One step's end: what was counted, the first thing that is wrong, or why it was not checked.

    `findings` are the wrong things: the first, or all where the audit kept going.
    """

    layer: Layer
    step: str
    verdict: Verdict
    detail: str
    findings: tuple[Finding, ...] = ()

    @property
    def where(self) -> Mapping[str, str | int]:
        """File, round and institution of the first wrong thing, as far as they are known."""
        return self.findings[0].where if self.findings else {}

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "layer": self.layer.value,
            "step": self.step,
            "verdict": self.verdict.value,
            "detail": self.detail,
            "where": dict(self.where),
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True)
class Report:
    """Everything that a verification found. `origin` says which chain the run was compared with."""

    run: str
    origin: str
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether every step was carried out and found nothing wrong."""
        return all(outcome.verdict is Verdict.PASSED for outcome in self.outcomes)

    @property
    def exit_status(self) -> int:
        """0: all passed. 1: something is wrong. 3: nothing wrong was found, but not everything was checked."""
        if self.passed:
            return 0
        return SOMETHING_WRONG if self._with(Verdict.FAILED) else NOT_EVERYTHING_CHECKED

    def layers(self) -> dict[Layer, tuple[Verdict, str]]:
        """How each layer ended, and why where it did not pass."""
        return {layer: self._layer(layer) for layer in Layer}

    def sentence(self) -> str:
        """The whole outcome in one sentence."""
        if self.passed:
            return (
                f"The audit passed: chain, artifacts and computation, all {len(self.outcomes)} steps were carried "
                "out and found nothing wrong."
            )
        failed, skipped = self._with(Verdict.FAILED), self._with(Verdict.NOT_CHECKED)
        if failed:
            return (
                f"The audit failed in {len(failed)} steps; the first, {failed[0].step} ({failed[0].layer} layer), "
                f"found: {failed[0].detail}"
            )
        return f"The audit is incomplete: {len(skipped)} steps were not checked, the first because {skipped[0].detail}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "run": self.run,
            "chain": self.origin,
            "passed": self.passed,
            "exit_status": self.exit_status,
            "layers": [
                {"layer": layer.value, "verdict": verdict.value, "detail": detail}
                for layer, (verdict, detail) in self.layers().items()
            ],
            "steps": [outcome.to_json() for outcome in self.outcomes],
        }

    def _with(self, verdict: Verdict) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.verdict is verdict]

    def _layer(self, layer: Layer) -> tuple[Verdict, str]:
        own = [outcome for outcome in self.outcomes if outcome.layer is layer]
        for verdict in (Verdict.FAILED, Verdict.NOT_CHECKED):
            for outcome in own:
                if outcome.verdict is verdict:
                    return verdict, f"{outcome.step}: {outcome.detail}"
        return Verdict.PASSED, f"{len(own)} steps"
