"""Which image lies in which row of a cache, and which file it was decoded from: a log that is only appended to."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedchest.files import OWNER_ONLY

RECORD = np.dtype(
    {
        "names": ["path", "signature", "content", "row"],
        "formats": ["V32", ("<i8", 4), "V32", "<i8"],
        "itemsize": 128,  # a divisor of a disk's sector, so that a power cut can't tear a record
    }
)
"""The path's SHA-256, the file's signature, its content's SHA-256, and its row among the pixels."""

Records = npt.NDArray[Any]  # of RECORD
Signatures = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]

UNSETTLED = (0, 0, 0, 0)
"""The signature of a file that was written so shortly before that its next change might bear the same time."""


def signature(status: os.stat_result) -> tuple[int, int, int, int]:
    """What changes whenever the file's content does, since nothing but a change sets the change time."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_index(path: Path) -> Records:
    """All whole records in the order that they were appended; none when there is no index."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    return np.frombuffer(content, RECORD, count=len(content) // RECORD.itemsize)


def append_to_index(path: Path, known: int, records: Records) -> None:
    """Write `records` behind the first `known` ones, in place of whatever follows those, and flush them to disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.truncate(known * RECORD.itemsize)
        file.seek(0, os.SEEK_END)
        file.write(records.tobytes())
        file.flush()
        os.fsync(file.fileno())


def latest_records(index: Records, paths: Sequence[str]) -> Records:
    """The last record of each of `paths`; where there is none, one with row -1 and no content."""
    place = dict(zip(index["path"].tolist(), range(len(index)), strict=True))
    keys = [hashlib.sha256(os.fsencode(path)).digest() for path in paths]
    places = np.array([place.get(key, -1) for key in keys], dtype=np.int64)
    found = np.zeros(len(paths), RECORD)
    found[places >= 0] = index[places[places >= 0]]
    found["path"] = np.frombuffer(b"".join(keys), "V32")
    found["row"][places < 0] = -1
    return found
