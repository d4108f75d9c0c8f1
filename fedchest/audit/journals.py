"""Reading the parties' journals for the audit: strictly, and without touching them."""

from dataclasses import dataclass
from pathlib import Path

from fedchest.federation.directory import JOURNAL, RunDirectory
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


def read_journal(path: Path, name: str) -> PartyJournal:
    """Read one journal, strictly: every line must be exactly what the journal writes.

    Only a last line without its end is passed over: it is what a crash in mid-write leaves behind; the block it tells
    of is missing, as if the line had been dropped.
    """
    content = path.read_bytes() if path.exists() else b""
    records: list[BlockRecord] = []
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        record = _parse(line)
        if record is None:
            return PartyJournal(name, (), f"line {number} is not a block record")
        if record.number != number:
            return PartyJournal(name, (), f"line {number} holds block {record.number}")
        records.append(record)
    return PartyJournal(name, tuple(records), None)


def _parse(line: bytes) -> BlockRecord | None:
    try:
        record = BlockRecord.from_line(line)
        return record if record.to_line() == line else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
