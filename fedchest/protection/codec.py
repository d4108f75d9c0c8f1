"""The canonical codec: an update as fixed-point integers, the same bytes on every machine.

The layout of the bytes is in docs/formats.md. Why nothing overflows: the integer vector satisfies the norm
bound, ||q||_2 <= norm_bound * 2^k <= 2^24, so |q_i| <= 2^24; the weights of a round add up to at most
MAX_TOTAL_WEIGHT = 2^29, so |sum_j w_j q_ji| <= 2^53. That fits int64 and is exact in float64
(tests/aggregation/test_fedavg.py::test_heaviest_round_does_not_overflow).
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedchest.errors import ConfigError
from fedchest.refusals import Reason, Refused

Layout = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of the tensors, sorted by name."""

CODEC_NAME = "fedchest/fixed-point/v1"
INTEGER_BOUND_BITS = 24
MAX_TOTAL_WEIGHT = 1 << 29

_MAGIC = b"FCUPDT\x00\x01"
_VALUE = np.dtype("<i4")
_NOT_FINITE = np.iinfo(_VALUE).min  # what a careless cast makes of NaN; no honest encoder writes it
_SMALLEST_BOUND, _LARGEST_BOUND = 2.0**-64, 2.0**64
_CHUNK = 1 << 16
_NORM_BITS, _NORM_CHUNK = 50, 1 << 12  # so that a chunk adds up to less than 2^63


@dataclass(frozen=True)
class EncodedUpdate:
    """An update in steps of 2^-k: `values` is int32[d], the tensors of `layout` in turn, each in C order."""

    layout: Layout
    values: NDArray[np.int32]


@dataclass(frozen=True)
class Codec:
    """Fixed-point encoding under an L2 `norm_bound` in (2^-64, 2^64), in the unit of the parameters.

    Raises ConfigError when the bound is not finite or outside that range.
    """

    norm_bound: float

    def __post_init__(self) -> None:
        if not _SMALLEST_BOUND < self.norm_bound < _LARGEST_BOUND:
            raise ConfigError(f"The norm bound {self.norm_bound} is not a number between 2^-64 and 2^64.")

    @property
    def scale_exponent(self) -> int:
        """The largest k with norm_bound * 2^k <= 2^24; one step of the encoding is 2^-k."""
        mantissa, exponent = math.frexp(self.norm_bound)
        return INTEGER_BOUND_BITS - exponent + (mantissa == 0.5)

    def encode(self, update: Mapping[str, NDArray[np.floating]]) -> bytes:
        """Clip, scale and round `update` (name -> array, at most float64) to canonical bytes.

        Rounding is to nearest, ties to even. It errs by at most half a step a value, the same way each time
        for the same value: a bias, which averaging over institutions need not remove. The vector is first
        clipped to the bound less what rounding can add to the norm, sqrt(d)/2 steps, and one step for what
        clipping itself errs by (d <= 2^27), so that the integers satisfy the bound
        (tests/protection/test_codec.py::test_encoded_update_is_within_the_bound). Order, strides and byte
        order of the arrays don't matter. Raises Refused(NOT_FINITE) on NaN or infinity.
        """
        layout = layout_of(update)
        steps = np.ldexp(_flatten(update, layout), self.scale_exponent)
        if not np.isfinite(steps).all():
            raise Refused(Reason.NOT_FINITE)
        norm = _norm(steps)
        target = math.ldexp(self.norm_bound, self.scale_exponent) - math.sqrt(steps.size) / 2 - 1
        if norm > target:
            steps *= target / norm
        return _MAGIC + self.header(layout) + np.rint(steps).astype(_VALUE).tobytes()

    def decode(self, encoded: bytes, layout: Layout) -> EncodedUpdate:
        """The update that `encoded` holds, which must be one of `layout` under this norm bound.

        There is one header for a codec and a layout, so it is compared, not parsed: duplicate names, other
        orders or scales and trailing bytes can't occur, and nothing is allocated on a sender's word.
        Raises Refused: MALFORMED when header or length differ, NOT_FINITE when a value is the mark of a NaN,
        NORM_EXCEEDED when the integer vector is above the bound, by any margin.
        """
        header = _MAGIC + self.header(layout)
        size = sum(math.prod(shape) for _, shape in layout)
        if len(encoded) != len(header) + size * _VALUE.itemsize or not encoded.startswith(header):
            raise Refused(Reason.MALFORMED)
        values = np.frombuffer(encoded, _VALUE, offset=len(header)).astype(np.int32)
        if (values == _NOT_FINITE).any():
            raise Refused(Reason.NOT_FINITE)
        if not self.admits(values):
            raise Refused(Reason.NORM_EXCEEDED)
        return EncodedUpdate(layout, values)

    def admits(self, values: NDArray[np.int32]) -> bool:
        """Whether ||values||_2 <= norm_bound * 2^k, decided exactly.

        The squares are added in float64. The bound's square is at most 2^48; sums of whole numbers are exact
        up to 2^53 in any order, and one that gets beyond never comes back, for nothing added is negative.
        """
        squares = 0.0
        for start in range(0, values.size, _CHUNK):
            chunk = values[start : start + _CHUNK].astype(np.float64)
            squares += float(chunk @ chunk)
        return Fraction(squares) <= self.squared_bound()

    def squared_bound(self) -> Fraction:
        """(norm_bound * 2^k)^2, the most that the squares of an update's integers add up to."""
        return (Fraction(self.norm_bound) * Fraction(2) ** self.scale_exponent) ** 2

    def header(self, layout: Layout) -> bytes:
        """What precedes the values in bytes of this codec: the scale's exponent, names and shapes."""
        parts = [struct.pack("<hI", self.scale_exponent, len(layout))]
        for name, shape in layout:
            text = name.encode()
            parts.append(struct.pack("<H", len(text)) + text)
            parts.append(struct.pack(f"<B{len(shape)}I", len(shape), *shape))
        return b"".join(parts)


def layout_of(tensors: Mapping[str, NDArray[np.floating]]) -> Layout:
    """The layout of `tensors`: their names and shapes, sorted by name (by code point)."""
    return tuple((name, tensors[name].shape) for name in sorted(tensors))


def _flatten(tensors: Mapping[str, NDArray[np.floating]], layout: Layout) -> NDArray[np.float64]:
    if not layout:
        return np.empty(0)
    return np.concatenate([tensors[name].astype(np.float64).ravel() for name, _ in layout])


def _norm(vector: NDArray[np.float64]) -> float:
    """The L2 norm, the same bits on every machine, within d * 2^-51 of it relatively.

    The squares are added as integers, in units of 2^-50 of the largest one's power of two: integer sums don't
    depend on the order, which BLAS chooses by processor.
    """
    largest = float(np.abs(vector).max(initial=0.0))
    _, exponent = math.frexp(largest)
    total = 0
    for start in range(0, vector.size, _NORM_CHUNK):
        fractions = np.ldexp(vector[start : start + _NORM_CHUNK], -exponent)
        total += int(np.ldexp(fractions * fractions, _NORM_BITS).astype(np.int64).sum())
    return math.ldexp(math.sqrt(math.ldexp(total, -_NORM_BITS)), exponent)
