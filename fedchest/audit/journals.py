"""Reading the parties' journals for the audit: strictly, and without touching them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedchest.federation.directory import JOURNAL, LEDGER, RunDirectory
from fedchest.ledger.file.entry import Entry
from fedchest.ledger.journal import BlockRecord


@dataclass(frozen=True)
class PartyJournal:
    """One journal: `name` is its path within the run, `fault` why its lines can't be used, if they can't."""

    name: str
    records: tuple[BlockRecord, ...]
    fault: str | None

    @property
    def height(self) -> int:
        """Number of the last block; 0 for an empty or absent journal."""
        return len(self.records)


def read_journals(directory: RunDirectory) -> list[PartyJournal]:
    """The chain's own journal and those of every party; an absent file reads as an empty one."""
    folders = [directory.chain, *directory.parties()]
    paths = [folder / JOURNAL for folder in folders]
    return [read_journal(path, str(path.relative_to(directory.root))) for path in paths]


def read_copies(directory: RunDirectory) -> list[PartyJournal]:
    """As `read_journals`, of a ledger that is a file: the file itself and every party's copy."""
    paths = [directory.chain / LEDGER, *(folder / JOURNAL for folder in directory.parties())]
    return [read_copy(path, str(path.relative_to(directory.root))) for path in paths]


def read_copy(path: Path, name: str) -> PartyJournal:
    """As `read_journal`, of a file of entries: each is a block, and its line the one transaction in it."""
    return _read(path, name, _entry, "an entry of a ledger")


def read_journal(path: Path, name: str) -> PartyJournal:
    """Read one journal, strictly: every line must be exactly what the journal writes.

    Only a last line without its end is passed over: it is what a crash in mid-write leaves behind; the block it tells
    of is missing, as if the line had been dropped.
    """
    return _read(path, name, _block, "a block record")


def _read(path: Path, name: str, parse: Callable[[bytes], BlockRecord | None], kind: str) -> PartyJournal:
    content = path.read_bytes() if path.exists() else b""
    records: list[BlockRecord] = []
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        record = parse(line)
        if record is None:
            return PartyJournal(name, (), f"line {number} is not {kind}")
        if record.number != number:
            return PartyJournal(name, (), f"line {number} holds block {record.number}")
        records.append(record)
    return PartyJournal(name, tuple(records), None)


def _entry(line: bytes) -> BlockRecord | None:
    try:
        entry = Entry.from_line(line.removesuffix(b"\n"))
    except ValueError:
        return None
    return BlockRecord(entry.number, entry.time, entry.hash, (line,))


def _block(line: bytes) -> BlockRecord | None:
    try:
        record = BlockRecord.from_line(line)
        return record if record.to_line() == line else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
