"""What an institution has made and may have to send again: flushed before it is committed or sent."""

from dataclasses import dataclass
from pathlib import Path

from fedchest.files import OWNER_ONLY, write_atomically


@dataclass(frozen=True)
class StoredSubmission:
    """A sealed update with its manifest and salt, exactly as committed for one round."""

    sealed: bytes
    manifest: bytes
    salt: bytes


class Outbox:
    """Owner-only files below one folder. What is here was paid for in epsilon and is never made twice."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def update(self, base_model: bytes) -> bytes | None:
        """The encoded, already noised update that was made from `base_model`, or None."""
        return _read(self._update_path(base_model))

    def store_update(self, base_model: bytes, encoded: bytes) -> None:
        """Flush the noised update. Raises StoreError when it can't be written."""
        write_atomically(self._update_path(base_model), encoded, mode=OWNER_ONLY)

    def submission(self, round_number: int) -> StoredSubmission | None:
        """What was sealed for `round_number`, or None."""
        folder = self._round_folder(round_number)
        parts = [_read(folder / name) for name in ("sealed", "manifest", "salt")]
        sealed, manifest, salt = parts
        if sealed is None or manifest is None or salt is None:
            return None
        return StoredSubmission(sealed, manifest, salt)

    def store_submission(self, round_number: int, submission: StoredSubmission) -> None:
        """Flush what is about to be committed. Raises StoreError when it can't be written."""
        folder = self._round_folder(round_number)
        write_atomically(folder / "salt", submission.salt, mode=OWNER_ONLY)
        write_atomically(folder / "manifest", submission.manifest, mode=OWNER_ONLY)
        write_atomically(folder / "sealed", submission.sealed, mode=OWNER_ONLY)

    def _update_path(self, base_model: bytes) -> Path:
        return self._directory / f"{base_model.hex()}.update"

    def _round_folder(self, round_number: int) -> Path:
        return self._directory / f"round-{round_number:06d}"


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
