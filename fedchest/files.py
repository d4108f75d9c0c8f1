"""Durable file writing: a reader sees the old content or the new one, never a part. And holding a file alone."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident

from fedchest.errors import StoreError

OWNER_ONLY = 0o600
_LOCK_POLL_SECONDS = 0.005


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644, overwrite: bool = True) -> None:
    """Write `content` to `path` by flushing a temporary neighbour and renaming it.

    Raises StoreError when the directory can't be written or the disk is full, FileExistsError when the file is
    there already and must not be overwritten, whoever else writes it at the same time.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
            temporary.unlink()
        _flush_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, FileExistsError) and path.exists():
            raise
        raise StoreError(f"{path} can't be written: {error.strerror}.") from None


def append_durably(path: Path, line: bytes, *, mode: int = 0o644) -> None:
    """Append `line` and a newline to `path` and flush it to disk. Raises StoreError as `write_atomically`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode)
        with os.fdopen(descriptor, "ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{path} can't be written: {error.strerror}.") from None


@contextmanager
def held(path: Path, seconds: float = 0.0) -> Iterator[None]:
    """Hold the file or folder `path` alone, among all threads and processes of this machine, until the block ends.

    Raises StoreError when it is absent, or when another holds it for longer than `seconds`. A process that dies
    lets go.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"{path} can't be opened: {error.strerror}.") from None
    try:
        end = time.monotonic() + seconds
        while not _locks(descriptor):
            if time.monotonic() >= end:
                raise StoreError(f"{path} is in use by another process; end that one first.")
            time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
