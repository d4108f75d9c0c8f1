"""The weighted sum of a round's updates as an artifact: canonical bytes, whose SHA-256 is on chain.

The layout of the bytes is in docs/formats.md.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedchest.protection.codec import INTEGER_BOUND_BITS, MAX_TOTAL_WEIGHT, Codec, Layout
from fedchest.refusals import Reason, Refused

_MAGIC = b"FCSUM\x00\x00\x01"
_VALUE = np.dtype("<i8")
_LARGEST = MAX_TOTAL_WEIGHT << INTEGER_BOUND_BITS
_SPLIT_BITS = 27
_CHUNK = 1 << 8  # squares of 27 bits, 2^8 times: below 2^63


def sum_bytes(total: NDArray[np.int64], layout: Layout, codec: Codec) -> bytes:
    """`total`, int64[d] of the tensors of `layout` in turn, as canonical bytes."""
    return _MAGIC + codec.header(layout) + total.astype(_VALUE).tobytes()


def parse_sum(content: bytes, layout: Layout, codec: Codec) -> NDArray[np.int64]:
    """The int64[d] whose `sum_bytes` are `content`.

    Raises Refused(MALFORMED) when none are, or when a value is beyond 2^53, which no sum of updates reaches.
    """
    header = _MAGIC + codec.header(layout)
    size = sum(math.prod(shape) for _, shape in layout)
    if len(content) != len(header) + size * _VALUE.itemsize or not content.startswith(header):
        raise Refused(Reason.MALFORMED)
    total = np.frombuffer(content, _VALUE, offset=len(header)).astype(np.int64)
    if ((total < -_LARGEST) | (total > _LARGEST)).any():
        raise Refused(Reason.MALFORMED)
    return total


def mean_within_bound(total: NDArray[np.int64], total_weight: int, codec: Codec) -> bool:
    """Whether ||total||_2 <= total_weight * norm_bound * 2^k, decided exactly.

    The sum of updates within the bound always is, by the triangle inequality.
    """
    return _squared_norm(total) <= total_weight**2 * codec.squared_bound()


def _squared_norm(values: NDArray[np.int64]) -> int:
    """In whole numbers: each value is split, since its square may exceed an int64."""
    high, low = values >> _SPLIT_BITS, values & ((1 << _SPLIT_BITS) - 1)
    squared = 0
    for start in range(0, values.size, _CHUNK):
        upper, lower = high[start : start + _CHUNK], low[start : start + _CHUNK]
        mixed = (int(upper @ upper) << _SPLIT_BITS) + 2 * int(upper @ lower)
        squared += (mixed << _SPLIT_BITS) + int(lower @ lower)
    return squared
