"""Draws that anyone can repeat: integers from a hash, the same with every version of every library."""

import hashlib

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def permutations(seed: bytes, count: int, size: int) -> Integers:
    """`count` orders of 0 to `size` - 1, int64[count, size], each as likely as any other."""
    keys = _stream(seed + b"permutations", count * size).reshape(count, size)
    return np.argsort(keys, axis=1, kind="stable").astype(np.int64)


def resamples(seed: bytes, purpose: bytes, count: int, size: int) -> Integers:
    """How often each of `size` things is drawn when `size` are, with replacement; int64[count, size]."""
    drawn = (_stream(seed + purpose, count * size) % np.uint64(size)).astype(np.int64).reshape(count, size)
    counts = np.zeros((count, size), np.int64)
    np.add.at(counts, (np.arange(count)[:, None], drawn), 1)
    return counts


def _stream(seed: bytes, count: int) -> NDArray[np.uint64]:
    """`count` numbers of 64 bits from SHAKE-256: reduced modulo n, they favour none by more than n / 2^64."""
    return np.frombuffer(hashlib.shake_256(seed).digest(8 * count), "<u8").astype(np.uint64)
