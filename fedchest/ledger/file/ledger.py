"""The ledger as a file that parties share: an action is a signed line, and every reader applies the rules itself."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedchest.errors import ChainError, StoreError, TamperError
from fedchest.files import write_atomically
from fedchest.ledger.calls import encoded_call, encoded_rules
from fedchest.ledger.file.copy import Copy
from fedchest.ledger.file.entry import CHAIN_ID, Entry
from fedchest.ledger.file.lines import alone, append, lines_after
from fedchest.ledger.file.replay import Replay
from fedchest.ledger.file.rules.shown import view
from fedchest.ledger.file.rules.state import NO_ONE
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.records import Event, Receipt, Rules
from fedchest.ledger.wallet import Wallet

Clock = Callable[[], float]
"""Seconds since 1970."""


def create_file_ledger(path: Path, wallet: Wallet, rules: Rules, *, clock: Clock = time.time) -> str:
    """Begin a study's ledger in a new file, with `wallet` as its coordinator, and return its address.

    Raises LedgerRefusal (InvalidRules), and StoreError when the file exists or can't be written.
    """
    unlike_any = "0x" + os.urandom(32).hex()
    call = "0x" + encoded_rules(rules).hex()
    first = Entry(1, int(clock()), unlike_any, wallet.address, call).signed(wallet, NO_ONE)
    begun = Replay()
    begun.apply(first)
    try:
        write_atomically(path, first.to_line() + b"\n", overwrite=False)
    except FileExistsError:
        raise StoreError(f"{path} exists already: a ledger begins in a new file.") from None
    return begun.address


class FileLedger(Ledger):
    """One party's access to the ledger in a file; threads and processes may share either.

    With a `journal` it keeps a copy there of what it saw, after each own action and in `sync`. Every call reads on in
    the file, and raises TamperError for an entry that nobody honest wrote, StoreError when the file can't be used.
    """

    def __init__(
        self,
        path: Path,
        address: str,
        wallet: Wallet | None = None,
        journal: Path | None = None,
        *,
        clock: Clock = time.time,
    ) -> None:
        self.path = path
        self.chain_id = CHAIN_ID
        self.address = address
        self.wallet = wallet
        self._copy = None if journal is None else Copy(journal)
        self._clock = clock
        self._turn = threading.RLock()
        self._begin()
        self.sync()

    def sync(self) -> None:
        """Bring the party's copy up to the head. Raises TamperError when the ledger was rolled back or rewritten."""
        with self._fresh() as replay:
            self._record(replay)

    def head(self) -> tuple[int, bytes]:
        """Number and hash of the last entry."""
        with self._fresh() as replay:
            return len(replay.lines), replay.hashes[-1]

    def block_hashes(self, numbers: Sequence[int]) -> list[bytes | None]:
        """Hashes of the entries `numbers`, of 0 what sets the ledger apart; None for one that is not there."""
        with self._fresh() as replay:
            return [replay.hashes[number] if number < len(replay.hashes) else None for number in numbers]

    def events(self, from_block: int = 0, to_block: int | None = None) -> list[Event]:
        """Every event of the entries from `from_block` to `to_block` (default: the last), in order."""
        with self._fresh() as replay:
            last = len(replay.lines) if to_block is None else to_block
            return [event for event in replay.events if from_block <= event.block <= last]

    def _view(self, name: str, *arguments: Any) -> Any:
        with self._fresh() as replay:
            return view(replay.state, name, *arguments)

    def _values(self, name: str, from_block: int, *indexed: int) -> list[dict[str, Any]]:
        named = (event for event in self.events(from_block) if event.name == name)
        return [fields for fields in map(_fields, named) if _leading(fields, len(indexed)) == list(indexed)]

    def _act(self, name: str, *arguments: Any, participants: int = 0, rehearse: bool = True) -> Receipt:
        if self.wallet is None:
            raise ChainError(f"{name} needs a wallet, and this ledger was opened for reading only.")
        call = "0x" + encoded_call(name, arguments).hex()
        with self._fresh() as replay:
            moment = max(int(self._clock()), replay.time)
            number, previous, end = len(replay.lines) + 1, "0x" + replay.hashes[-1].hex(), replay.size
            entry = Entry(number, moment, previous, self.wallet.address, call)
            entry = entry.signed(self.wallet, self.address)
            replay.apply(entry)
            try:
                append(self.path, end, [entry.to_line()])
            except OSError:
                self._begin()  # what was applied may not be in the file
                raise
            self._record(replay)
        return Receipt("0x" + entry.hash.hex(), entry.number, 0)

    def _begin(self) -> None:
        self._replay = Replay()
        self._looked = 0.0

    @contextmanager
    def _fresh(self) -> Iterator[Replay]:
        """What the file says now; nobody appends to it meanwhile."""
        with self._turn, alone(self.path):
            # Looked at with the file held: who appends later takes a later time.
            now = self._clock()
            self._read_on(now)
            if self._replay.address != self.address:
                raise ChainError(f"The ledger in {self.path} is {self._replay.address}, not {self.address}.")
            yield self._replay

    def _read_on(self, now: float) -> None:
        for line in lines_after(self.path, self._replay.size, self._replay.last):
            try:
                self._replay.take(line, now=now, after=self._looked)
            except TamperError as error:
                raise TamperError(f"{self.path}: {error}") from None
        self._looked = now

    def _record(self, replay: Replay) -> None:
        if self._copy is not None:
            self._copy.follow(self.path, replay.lines)


def _fields(event: Event) -> dict[str, Any]:
    where = {"round": event.round, "institution": event.institution}
    return {name: value for name, value in where.items() if value is not None} | dict(event.values)


def _leading(fields: dict[str, Any], count: int) -> list[int]:
    leading = list(fields.values())[:count]
    return [int.from_bytes(value) if isinstance(value, bytes) else value for value in leading]
