"""A party's own copy of a file ledger: whoever holds the ledger can't take back or change what is in it unseen."""

from collections.abc import Sequence
from pathlib import Path

from fedchest.errors import StoreError, TamperError
from fedchest.ledger.file.lines import alone, append, lines_after


class Copy:
    """The ledger's lines as this party saw them, in a file of its own; processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def follow(self, ledger: Path, lines: Sequence[bytes]) -> None:
        """Append, flushed, what `ledger` has and the copy lacks.

        Raises TamperError when the ledger has another entry in the place of one of the copy's, or none.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        except OSError as error:
            raise StoreError(f"{self.path} can't be written: {error.strerror}.") from None
        with alone(self.path):
            own = lines_after(self.path)
            _require_same(ledger, lines, self.path, own)
            if len(lines) > len(own):
                append(self.path, sum(len(line) + 1 for line in own), lines[len(own) :])


def _require_same(ledger: Path, lines: Sequence[bytes], path: Path, own: Sequence[bytes]) -> None:
    for number, line in enumerate(own, start=1):
        if number > len(lines):
            raise TamperError(f"{ledger} ends before what is recorded in {path}: entry {number} is missing.")
        if lines[number - 1] != line:
            raise TamperError(f"{ledger} is not the ledger recorded in {path}: entry {number} differs.")
