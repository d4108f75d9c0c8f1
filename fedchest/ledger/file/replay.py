"""A file ledger read entry by entry: links, times, signatures and rules are checked before anything counts."""

from collections.abc import Iterable

from fedchest.errors import ChainError, TamperError
from fedchest.ledger.calls import decoded_rules
from fedchest.ledger.file.entry import CHAIN_ID, Entry, ledger_address
from fedchest.ledger.file.rules.dispatch import act, create
from fedchest.ledger.file.rules.state import NO_ONE, Emitted, Moment, State
from fedchest.ledger.records import Event

CLOCK_TOLERANCE = 60
"""Seconds by which the clocks of parties may differ: what an entry's time may be off without being refused."""


class Replay:
    """What the entries taken so far make: their `lines` and `size` in bytes, the `state`, and every event.

    `hashes` begins with that of entry 0, which there is none of: what the first entry names as the one before it.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.size = 0
        self.hashes: list[bytes] = []
        self.events: list[Event] = []
        self.time = 0
        self.address = NO_ONE
        self._state: State | None = None

    @property
    def last(self) -> bytes:
        """The last entry's line; empty before the first."""
        return self.lines[-1] if self.lines else b""

    @property
    def state(self) -> State:
        """The ledger after the last entry, of which there is one."""
        assert self._state is not None
        return self._state

    def take(self, line: bytes, *, now: float, after: float) -> None:
        """Read the next entry, by the reader's clock: it is `now`, and was `after` when the file had no more.

        Raises TamperError, naming the entry, when it is none that an honest party can have written.
        """
        number = len(self.lines) + 1
        try:
            entry = Entry.from_line(line)
        except ValueError:
            raise TamperError(f"Entry {number} is not of an entry's form.") from None
        if entry.number != number:
            raise TamperError(f"Entry {number} says that it is entry {entry.number}.")
        if self.hashes and entry.parent != self.hashes[-1]:
            raise TamperError(f"Entry {number} does not follow entry {number - 1}: it names another hash.")
        self._require_time(entry, now, after)
        if not entry.is_signed(self.address):
            raise TamperError(f"Entry {number} is not signed by {entry.sender} for this ledger.")
        try:
            self.apply(entry)
        except ChainError as refusal:
            raise TamperError(f"Entry {number} is one that the rules forbid: {refusal}") from None

    def apply(self, entry: Entry) -> None:
        """Carry out the next entry, which is known to be well formed. Raises LedgerRefusal, and nothing changes."""
        moment = Moment(entry.number, entry.time, entry.parent)
        call = bytes.fromhex(entry.call[2:])
        if self.lines:
            emitted = act(self.state, entry.sender, call, moment)
        else:
            self.address = ledger_address(entry)
            self._state, emitted = create(decoded_rules(call), entry.sender, (CHAIN_ID, self.address))
            self.hashes.append(entry.parent)
        line, digest = entry.to_line(), entry.hash
        self.lines.append(line)
        self.size += len(line) + 1
        self.hashes.append(digest)
        self.events += [_event(entry, digest, index, one) for index, one in enumerate(emitted)]
        self.time = entry.time

    def _require_time(self, entry: Entry, now: float, after: float) -> None:
        if entry.time < self.time:
            raise TamperError(f"Entry {entry.number} is back-dated: the one before it is later.")
        if entry.time < after - CLOCK_TOLERANCE:
            raise TamperError(f"Entry {entry.number} is back-dated: it was not there at its time.")
        if entry.time > now + CLOCK_TOLERANCE:
            raise TamperError(f"Entry {entry.number} is {entry.time - now:.0f} seconds in the future.")


def replayed(lines: Iterable[bytes], now: float) -> Replay:
    """What the entries make, read at once. Raises TamperError as `Replay.take`."""
    replay = Replay()
    for line in lines:
        replay.take(line, now=now, after=0.0)
    return replay


def _event(entry: Entry, digest: bytes, index: int, emitted: Emitted) -> Event:
    name, fields = emitted
    values = dict(fields)
    return Event(
        block=entry.number,
        index=index,
        timestamp=entry.time,
        transaction="0x" + digest.hex(),
        sender=entry.sender,
        gas=0,
        name=name,
        round=values.pop("round", None),
        institution=values.pop("institution", None),
        values=values,
    )
