"""The artifact store: files named by the SHA-256 of their content."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from fedchest.errors import StoreError
from fedchest.files import write_atomically

_NAME = re.compile(r"[0-9a-f]{64}")


class ArtifactStore:
    """Content-addressed files below one directory: sealed updates, manifests, models, round records."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def put(self, content: bytes) -> bytes:
        """Store `content` and return its SHA-256 digest (32 bytes). Storing again mends a damaged file."""
        digest = hashlib.sha256(content).digest()
        path = self.path(digest)
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)
        return digest

    def get(self, digest: bytes) -> bytes:
        """The content stored under `digest`. Raises StoreError when it is absent or its bytes have changed."""
        path = self.path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{path} is missing from the artifact store.") from None
        if hashlib.sha256(content).digest() != digest:
            raise StoreError(f"{path} does not hash to its name: it was changed, truncated or swapped.")
        return content

    def holds(self, digest: bytes) -> bool:
        """Whether the content of `digest` is there and unchanged; it is hashed without being held in memory."""
        try:
            with self.path(digest).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest() == digest
        except OSError:
            return False

    def path(self, digest: bytes) -> Path:
        """Where the content of `digest` lies, present or not."""
        return self.directory / digest.hex()

    def __contains__(self, digest: bytes) -> bool:
        return self.path(digest).exists()

    def __iter__(self) -> Iterator[bytes]:
        """The digests present, in order; files that are not named by a digest are passed over."""
        if not self.directory.is_dir():
            return
        for path in sorted(self.directory.iterdir()):
            if _NAME.fullmatch(path.name):
                yield bytes.fromhex(path.name)
