"""What a verification finds: one outcome a step, and how a step says that something is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a step ended. A step that did not run, or not to its end, is never `passed`."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class Fault(Exception):
    """Something in the run is wrong. `what` is a clause; `file` is relative to the run directory."""

    def __init__(
        self, what: str, *, file: str | None = None, round: int | None = None, institution: int | None = None
    ) -> None:
        self.where: Mapping[str, str | int] = {
            key: value
            for key, value in {"file": file, "round": round, "institution": institution}.items()
            if value is not None
        }
        places = [str(value) if key == "file" else f"{key} {value}" for key, value in self.where.items()]
        super().__init__(f"{', '.join(places)}: {what}" if places else what)


class NotChecked(Exception):
    """A step can't be carried out; the text says because of what."""


@dataclass(frozen=True)
class Outcome:
    """One step's end: what was counted, the first thing that is wrong, or why it was not checked.

    `where` names file, round and institution of a fault, as far as they are known.
    """

    step: str
    verdict: Verdict
    detail: str
    where: Mapping[str, str | int]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "step": self.step,
            "verdict": self.verdict.value,
            "detail": self.detail,
            "where": dict(self.where),
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
        """0: all passed. 1: something is wrong. 2: nothing wrong was found, but not everything was checked."""
        if self.passed:
            return 0
        return 1 if any(outcome.verdict is Verdict.FAILED for outcome in self.outcomes) else 2

    def sentence(self) -> str:
        """The whole outcome in one sentence."""
        if self.passed:
            return (
                f"The audit passed: all {len(self.outcomes)} steps were carried out and found nothing wrong."
            )
        failed = [outcome for outcome in self.outcomes if outcome.verdict is Verdict.FAILED]
        if failed:
            return f"The audit failed in {len(failed)} steps; the first, {failed[0].step}, found: {failed[0].detail}"
        skipped = [outcome for outcome in self.outcomes if outcome.verdict is Verdict.NOT_CHECKED]
        return f"The audit is incomplete: {len(skipped)} steps were not checked, the first because {skipped[0].detail}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "run": self.run,
            "chain": self.origin,
            "passed": self.passed,
            "exit_status": self.exit_status,
            "steps": [outcome.to_json() for outcome in self.outcomes],
        }
