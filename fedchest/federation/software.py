"""The software that a study's parties agreed to run, as one hash."""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import fedchest

PACKAGES = ("fedchest", "clients", "server")
_SUFFIXES = (".py", ".json")


@cache
def software_digest() -> bytes:
    """SHA-256 (32 bytes) over the installed packages' files: their names, lengths and contents, in the names' order.

    Python files and the shipped contract: what a run's outcome can depend on.
    """
    digest = hashlib.sha256()
    for name, path in sorted(_files()):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.digest()


def _files() -> Iterator[tuple[str, Path]]:
    root = Path(fedchest.__file__).parents[1]
    for package in PACKAGES:
        for path in (root / package).rglob("*"):
            if path.suffix in _SUFFIXES:
                yield path.relative_to(root).as_posix(), path
