"""What a holder of artifacts says to have pruned: a claim, by which a missing file is one that can't be checked."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from fedchest.errors import StoreError
from fedchest.files import append_durably

UPDATE, SUM = "the sealed update", "the proposed sum"
"""What the pruning rule lets go; a list that names anything else as pruned excuses nothing."""


@dataclass(frozen=True)
class PrunedArtifact:
    """One artifact that was deleted: its SHA-256 (64 hexadecimal digits), what it was, whose, and its size in bytes."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    digest: str
    what: str
    round: int
    institution: int | None
    bytes: int


_LINE = TypeAdapter(PrunedArtifact)


def read_pruned(path: Path) -> dict[bytes, PrunedArtifact]:
    """The list by digest (32 bytes); empty where there is none. Raises StoreError for one that is damaged."""
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
        entries = [_LINE.validate_json(line) for line in lines]
        return {bytes.fromhex(entry.digest): entry for entry in entries}
    except (OSError, ValueError):
        raise StoreError(f"{path} is no list of pruned artifacts.") from None


def append_pruned(path: Path, artifact: PrunedArtifact) -> None:
    """Add to the list, flushed. Raises StoreError when it can't be written."""
    append_durably(path, _LINE.dump_json(artifact))
