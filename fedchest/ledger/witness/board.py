"""Where cosignatures are put up: a folder that every party reads, with one append-only file a witness."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fedchest.errors import StoreError
from fedchest.ledger.witness.checkpoint import Cosignature

log = logging.getLogger(__name__)

_LONGEST_LINE = 1024  # an honest one has about 370 bytes


@dataclass
class _Place:
    """How far a file was read; `bad_lines` counts what was no cosignature."""

    offset: int = 0
    bad_lines: int = 0
    abandoned: bool = False


@dataclass
class Board:
    """The cosignatures of one chain's witnesses in `folder`, read on from where this object stopped.

    A file's name says who should have written it, and is not believed: the signatures are.
    """

    folder: Path
    chain_id: int
    _places: dict[Path, _Place] = field(default_factory=dict)

    def create(self) -> None:
        """Make the folder where there is none. Raises StoreError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder} can't be made: {error.strerror}.") from None

    def publish(self, witness: str, cosignatures: Sequence[Cosignature]) -> None:
        """Append, flushed, to the file of the witness of that address. Raises StoreError."""
        path = self.folder / f"{witness}.jsonl"
        try:
            path.touch()
            with path.open("r+b") as file:
                _drop_partial_line(file)
                file.write(b"".join(cosignature.to_line() for cosignature in cosignatures))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"{path} can't be written: {error.strerror}.") from None

    def new(self) -> list[Cosignature]:
        """What was put up since the last call; lines that are no cosignature are counted and passed over.

        Raises StoreError when the folder is not there or can't be read.
        """
        if not self.folder.is_dir():
            raise StoreError(f"{self.folder} is no folder: witnesses put their cosignatures up there.")
        found: list[Cosignature] = []
        for path in sorted(self.folder.glob("*.jsonl")):
            place = self._places.setdefault(path, _Place())
            try:
                found += self._read(path, place)
            except OSError as error:
                raise StoreError(f"{path} can't be read: {error.strerror}.") from None
        return found

    def bad_lines(self) -> dict[str, int]:
        """By file name, how many lines were no cosignature, where there were some."""
        return {path.name: place.bad_lines for path, place in self._places.items() if place.bad_lines}

    def _read(self, path: Path, place: _Place) -> list[Cosignature]:
        found: list[Cosignature] = []
        with path.open("rb") as file:
            file.seek(place.offset)
            while not place.abandoned and (line := file.readline(_LONGEST_LINE)):
                if not line.endswith(b"\n"):
                    # Either still being written, or too long for anything that a witness writes.
                    place.abandoned = len(line) == _LONGEST_LINE
                    place.bad_lines += place.abandoned
                    break
                place.offset += len(line)
                cosignature = Cosignature.from_line(line, self.chain_id)
                if cosignature is None:
                    place.bad_lines += 1
                else:
                    found.append(cosignature)
        return found


def _drop_partial_line(file: BinaryIO) -> None:
    """Leave the file at the end of its last whole line: a crash may have cut the next one off."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _LONGEST_LINE)
    file.seek(start)
    tail = file.read()
    end = start + tail.rfind(b"\n") + 1
    if end < size:
        file.truncate(end)
    file.seek(end)
