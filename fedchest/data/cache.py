"""Images decoded once into a memory-mapped file that is named by their content."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedchest.data.cohort import Cohort
from fedchest.data.images import content_digest, decode
from fedchest.errors import DataError
from fedchest.files import OWNER_ONLY

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

_FORMAT = b"fedchest image cache 1"


def cached_images(
    cohort: Cohort, size: int, directory: Path, *, progress: Progress | None = None
) -> npt.NDArray[np.uint8]:
    """The cohort's images as a read-only memory map, uint8[N, size, size], decoded on first use only.

    The file in `directory` is named by the SHA-256 over `size` and every image file's own SHA-256, in order,
    so that a changed, added or reordered image is never served from an old cache. The file is readable by its
    owner only, since it holds patients' images. Raises DataError naming the first image that can't be read or
    decoded, or the directory when it can't be written.

    Held by tests/data/test_cache.py::test_a_changed_image_is_decoded_again.
    """
    cache = directory / f"{_key(cohort, size)}.u8"
    shape = (len(cohort), size, size)
    if not _is_complete(cache, shape):
        _fill(cache, cohort, size, progress)
    return np.memmap(cache, dtype=np.uint8, mode="r", shape=shape)


def _key(cohort: Cohort, size: int) -> str:
    total = hashlib.sha256(_FORMAT + size.to_bytes(4, "little"))
    for path in cohort.paths:
        total.update(content_digest(cohort.root / path))
    return total.hexdigest()


def _is_complete(cache: Path, shape: tuple[int, int, int]) -> bool:
    return cache.is_file() and cache.stat().st_size == shape[0] * shape[1] * shape[2]


def _fill(cache: Path, cohort: Cohort, size: int, progress: Progress | None) -> None:
    """Decode into a temporary neighbour and rename it, so that a killed process leaves no half cache."""
    temporary = cache.with_suffix(f".{os.getpid()}.tmp")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_decoded(temporary, cohort, size, progress)
            temporary.replace(cache)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"The image cache {cache.parent} can't be written: {error.strerror}.") from None


def _write_decoded(target: Path, cohort: Cohort, size: int, progress: Progress | None) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        for done, path in enumerate(cohort.paths, start=1):
            file.write(decode(cohort.root / path, size).tobytes())
            if progress is not None:
                progress(done, len(cohort))
        file.flush()
        os.fsync(file.fileno())
