"""The lines of a file that is only ever appended to, by whoever holds it alone; a torn last one does not count."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedchest.errors import StoreError, TamperError
from fedchest.files import held
from fedchest.ledger.patience import time_left

log = logging.getLogger(__name__)

_LOCK_SECONDS = 10.0


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the file alone. Raises StoreError when it is absent, can't be used, or stays in use."""
    try:
        with held(path, min(_LOCK_SECONDS, time_left())):
            yield
    except OSError as error:
        raise StoreError(f"{path} can't be read or written: {error.strerror}.") from None


def lines_after(path: Path, end: int = 0, last: bytes = b"") -> list[bytes]:
    """The whole lines from byte `end` on, without their newlines; whoever calls holds the file.

    Raises TamperError when the line `last` does not end there any more.
    """
    before = last + b"\n" if last else b""
    with path.open("rb") as file:
        file.seek(end - len(before))
        content = file.read()
    if not content.startswith(before):
        raise TamperError(f"{path} was cut or rewritten: a line that was read before is no longer there.")
    return content[len(before) :].split(b"\n")[:-1]


def append(path: Path, end: int, lines: Sequence[bytes]) -> None:
    """Append whole lines at byte `end`, where the whole lines end, and flush them; whoever calls holds the file."""
    with path.open("r+b") as file:
        if file.seek(0, os.SEEK_END) > end:
            log.warning("%s: the last line was cut off while it was written and is dropped.", path)
            file.truncate(end)
            file.seek(end)
        file.write(b"".join(line + b"\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
