"""The frame of a replay: which event must come next, and how one that can't have come is named."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedchest.audit.report import Fault
from fedchest.audit.trail import event_line, plain
from fedchest.ledger.events import snake_case
from fedchest.ledger.records import Event


@dataclass(frozen=True)
class Foretold:
    """An event that must come next, with these fields at least; `round` and `institution` are fields too."""

    name: str
    fields: Mapping[str, object]

    def is_told_by(self, event: Event) -> bool:
        """Whether the event is this one."""
        told = {"round": event.round, "institution": event.institution, **event.values}
        return event.name == self.name and self.fields.items() <= told.items()

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{name} {value}" for name, value in plain(self.fields).items())])


class Replay:
    """A state machine, event by event: each event has one method, named after it, which checks and changes.

    What an event foretells comes next, in the same transaction. `_caused` says whether the present one was foretold.
    """

    def __init__(self) -> None:
        self._foretold: deque[Foretold] = deque()
        self._last: Event | None = None
        self._caused = False

    def replay(self, events: Iterable[Event]) -> None:
        """Take in every event. Raises Fault at the first that the contract could not have emitted there."""
        for event in events:
            self.apply(event)
        if self._foretold:
            raise self._fault(self._last, "the events end", self._foretold[0], "nothing")

    def apply(self, event: Event) -> None:
        """Take in the next event. Raises Fault when the contract could not have emitted it there."""
        method = getattr(self, snake_case(event.name), None)
        if method is None:
            raise self._fault(event, "is no event that the state machine knows", "a known event", event.name)
        self._caused = bool(self._foretold)
        if self._foretold:
            self._require_foretold(event, self._foretold.popleft())
        method(event, **event.values)
        self._last = event

    def _foretell(self, name: str, **fields: object) -> None:
        self._foretold.append(Foretold(name, fields))

    def _require_foretold(self, event: Event, due: Foretold) -> None:
        cause = event if self._last is None else self._last
        same_act = (event.transaction, event.sender) == (cause.transaction, cause.sender)
        if not same_act or not due.is_told_by(event):
            found = event_line(event) if same_act else f"{event_line(event)} in another transaction"
            raise self._fault(event, "is not what follows from the event before", due, found)

    def _by_decision(self, event: Event) -> None:
        self._require(event, self._caused, "a decision that was taken", "none")

    def _by(self, event: Event, wallet: str) -> None:
        self._require(event, event.sender == wallet, f"wallet {wallet}", event.sender)

    def _equal(self, event: Event, what: str, expected: object, found: object) -> None:
        if expected != found:
            raise self._fault(event, f"has another {what} than follows", expected, found)

    def _require(self, event: Event, holds: bool, expected: object, found: object) -> None:
        if not holds:
            raise self._fault(event, "can't have come there", expected, found)

    def _fault(self, event: Event | None, what: str, expected: object, found: object) -> Fault:
        place = "" if event is None else f"{event.name} in block {event.block}"
        return Fault(
            f"{place} {what}".strip(),
            expected=expected,
            found=found,
            round=None if event is None else event.round,
            institution=None if event is None else event.institution,
        )
