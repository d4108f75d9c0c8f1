"""What the C library does with memory that a training step frees."""

import ctypes
from functools import cache

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30
"""Bytes: a single block above this is still returned, as is free memory above it at the heap's end."""


@cache
def keep_freed_memory() -> None:
    """Let the process keep freed memory for the next step, instead of returning it to the system each time.

    A step takes and frees hundreds of megabytes. The system hands every page out zeroed, on its first touch, which
    may cost as much as what is computed in it. Peak memory stays the same. Does nothing where the C library isn't
    glibc.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return
    # Older versions take no more than 32 MiB; to set nothing is better than the other threshold alone.
    if library.mallopt(_MMAP_THRESHOLD, _KEPT) or library.mallopt(_MMAP_THRESHOLD, _KEPT >> 5):
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
