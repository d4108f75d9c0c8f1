"""Images decoded once, into a file that all cohorts of one tree share and that trusts no image that changed."""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedchest.data.cache_index import (
    RECORD,
    UNSETTLED,
    Records,
    Rows,
    Signatures,
    append_to_index,
    latest_records,
    read_index,
    signature,
)
from fedchest.data.cohort import Cohort
from fedchest.data.images import decode_content
from fedchest.data.parallel import refuse_while_importing_main, worked_through
from fedchest.errors import DataError
from fedchest.files import OWNER_ONLY

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

_FORMAT = b"fedchest image cache 2"
_TOGETHER, _WORTH_PROCESSES = 256, 1000
"""Images that are decoded between two flushes; fewer to decode than the second are decoded in this process."""
_SETTLED_NS = 2_000_000_000
"""The coarsest clock of a file system in use: a file is trusted to show its next change when it is older."""


class CachedImages:
    """N images of uint8[size, size], read from disk when they are indexed, by the rules of a numpy array's rows."""

    def __init__(self, pixels: npt.NDArray[np.uint8], rows: Rows) -> None:
        self._pixels = pixels
        self._rows = rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, size, size)."""
        return (len(self._rows), *self._pixels.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | Rows) -> npt.NDArray[np.uint8]:
        """A copy of the images `rows`, uint8[n, size, size]."""
        return self._pixels[self._rows[rows]]


def cached_images(
    cohort: Cohort, size: int, directory: Path, *, progress: Progress | None = None
) -> CachedImages:
    """The cohort's images at `size` pixels, decoded on first use only, on all cores where that is worth it.

    `directory` holds one file of pixels for each tree and size, to which images are only ever added, so cohorts of
    one tree share it and a reader's rows never move. Beside it lies an index of each image's file, content's SHA-256
    and row. An image is served without being read when inode, length, modification and change time of its file are
    those of the index; otherwise it is read, and decoded unless its content is that of the index. A fill that was
    killed loses at most the images not yet flushed; a second process waits for the first and takes what it decoded.
    All files are readable by their owner only, since they hold patients' images.

    Raises DataError naming the first image that can't be read or decoded, or the directory when it can't be written
    or the disk is too full.

    Held by tests/data/test_cache.py::test_a_changed_image_is_decoded_again.
    """
    try:
        store = _Store(cohort, size, directory)
        records, stale = store.look_up()
        if stale.any():
            refuse_while_importing_main()
            directory.mkdir(parents=True, exist_ok=True)
            with _locked(directory / "lock"):
                records = store.fill(progress)
        return CachedImages(store.map_pixels(), records["row"].copy())
    except OSError as error:
        raise DataError(f"The image cache {directory} can't be written: {error.strerror}.") from None


def cache_bytes(cohort: Cohort, size: int) -> int:
    """Bytes on disk of the cohort's images decoded to `size` pixels, with their index."""
    return len(cohort) * (size * size + RECORD.itemsize)


@dataclass(frozen=True)
class _Task:
    """Images to bring up to date: their files, what the index knows of them, and rows that are free for them."""

    files: tuple[str, ...]
    records: Records
    rows: range
    size: int
    pixels: Path


class _Store:
    """The pixels of one tree at one size, `<size>px-<tree>.pixels`, and their index beside it."""

    def __init__(self, cohort: Cohort, size: int, directory: Path) -> None:
        tree = hashlib.sha256(_FORMAT + os.fsencode(cohort.root.resolve())).hexdigest()[:16]
        self._pixels = directory / f"{size}px-{tree}.pixels"
        self._index = self._pixels.with_suffix(".index")
        self._cohort = cohort
        self._size = size

    def look_up(self) -> tuple[Records, npt.NDArray[np.bool_]]:
        """The record of each of the cohort's images, and where it does not hold for the file that is there now."""
        records = latest_records(self._read_index(), self._cohort.paths)
        return records, (records["signature"] != self._signatures()).any(axis=1)

    def fill(self, progress: Progress | None) -> Records:
        """Bring every image up to date, a flush every few images; the records of all. Call it under the lock."""
        records, stale = self.look_up()
        places = np.flatnonzero(stale)
        self._refuse_if_too_large(int((records["row"][places] < 0).sum()))
        tasks = self._tasks(records, places)
        parallel = len(places) >= _WORTH_PROCESSES
        known, done = len(self._read_index()), len(records) - len(places)
        descriptor = os.open(self._pixels, os.O_RDWR | os.O_CREAT, OWNER_ONLY)
        with os.fdopen(descriptor, "rb") as pixels:
            fcntl.flock(pixels, fcntl.LOCK_EX)  # once the workers of a killed fill are gone
            fcntl.flock(pixels, fcntl.LOCK_UN)
            with worked_through(_decode, tasks, in_processes=parallel) as results:
                for updated in results:
                    os.fdatasync(pixels.fileno())  # pixels before the record that vouches for them
                    append_to_index(self._index, known, updated)
                    known += len(updated)
                    records[places[: len(updated)]] = updated
                    places = places[len(updated) :]
                    done += len(updated)
                    if progress is not None:
                        progress(done, len(records))
        return records

    def map_pixels(self) -> npt.NDArray[np.uint8]:
        """All rows, read only."""
        shape = (self._row_count(), self._size, self._size)
        return np.memmap(self._pixels, dtype=np.uint8, mode="r", shape=shape)

    def _read_index(self) -> Records:
        """The index, or none of it when pixels that it vouches for are gone."""
        index = read_index(self._index)
        complete = len(index) == 0 or int(index["row"].max()) < self._row_count()
        return index if complete else index[:0]

    def _row_count(self) -> int:
        return self._pixels.stat().st_size // self._size**2 if self._pixels.exists() else 0

    def _signatures(self) -> Signatures:
        root = os.fspath(self._cohort.root)
        return np.array([_signature(f"{root}/{path}") for path in self._cohort.paths], dtype=np.int64)

    def _tasks(self, records: Records, places: Rows) -> list[_Task]:
        index = self._read_index()
        free = int(index["row"].max()) + 1 if len(index) else 0
        root = os.fspath(self._cohort.root)
        return [
            _Task(
                files=tuple(f"{root}/{self._cohort.paths[place]}" for place in some),
                records=records[some],
                rows=range(free + start, free + start + len(some)),
                size=self._size,
                pixels=self._pixels,
            )
            for start in range(0, len(places), _TOGETHER)
            for some in [places[start : start + _TOGETHER]]
        ]

    def _refuse_if_too_large(self, images: int) -> None:
        needed = images * (self._size**2 + RECORD.itemsize)
        free = shutil.disk_usage(self._pixels.parent).free
        if needed > free:
            raise DataError(
                f"The image cache {self._pixels.parent} needs {needed / 1e9:.2f} GB for {images:,} images of "
                f"{self._size} pixels, but {free / 1e9:.2f} GB are free."
            )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One fill at a time, each with all cores; the lock goes with the process that holds it."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _decode(task: _Task) -> Records:
    """Write the pixels of the images whose content is new, and return the records of all."""
    records = task.records.copy()
    with task.pixels.open("r+b") as pixels:
        fcntl.flock(pixels, fcntl.LOCK_SH)
        for place, (name, row) in enumerate(zip(task.files, task.rows, strict=True)):
            content, records["signature"][place] = _read(name)
            digest = np.void(hashlib.sha256(content).digest())
            if records["content"][place] != digest:
                pixels.seek(row * task.size**2)
                pixels.write(decode_content(content, Path(name), task.size).tobytes())
                records["content"][place], records["row"][place] = digest, row
    return records


def _signature(name: str) -> tuple[int, int, int, int]:
    try:
        return signature(os.stat(name))  # noqa: PTH116, a Path for each image would cost as much again
    except OSError as error:
        raise DataError(f"{name} can't be read: {error.strerror}.") from None


def _read(name: str) -> tuple[bytes, tuple[int, int, int, int]]:
    """The content of the file `name` with its signature, which is UNSETTLED when its next change might not show."""
    try:
        with Path(name).open("rb") as file:
            before = signature(os.fstat(file.fileno()))
            content = file.read()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise DataError(f"{name} can't be read: {error.strerror}.") from None
    settled = before == signature(after) and after.st_ctime_ns + _SETTLED_NS < time.time_ns()
    return content, before if settled else UNSETTLED
