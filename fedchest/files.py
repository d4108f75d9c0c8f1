"""Durable file writing: a reader sees the old content or the new one, never a part."""

import os
from contextlib import suppress
from pathlib import Path
from threading import get_ident

from fedchest.errors import StoreError

OWNER_ONLY = 0o600


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


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
