"""The canonical codec: canonical bytes, half-step rounding, a norm bound that the integers themselves keep."""

import hashlib
import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedchest.errors import ConfigError
from fedchest.protection.codec import Codec, layout_of
from fedchest.refusals import Reason, Refused

bounds = st.floats(2.0**-40, 2.0**40, allow_subnormal=False)
finite32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
tensors = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, max_side=5), elements=finite32)
updates = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), tensors, max_size=5)


def exact_square_norm(values: np.ndarray) -> int:
    return sum(int(value) ** 2 for value in values)


def exact_limit(codec: Codec) -> Fraction:
    return (Fraction(codec.norm_bound) * Fraction(2) ** codec.scale_exponent) ** 2


def encoded(codec: Codec, values: list[int]) -> tuple[bytes, tuple[tuple[str, tuple[int, ...]], ...]]:
    """What a hostile encoder may send: any int32 under an otherwise correct header."""
    update = {"w": np.zeros(len(values), np.float32)}
    honest = codec.encode(update)
    return honest[: len(honest) - 4 * len(values)] + struct.pack(f"<{len(values)}i", *values), layout_of(
        update
    )


def refusal(codec: Codec, content: bytes, layout: tuple[tuple[str, tuple[int, ...]], ...]) -> Reason:
    with pytest.raises(Refused) as caught:
        codec.decode(content, layout)
    return caught.value.reason


@given(bounds)
def test_scale_is_the_largest_that_keeps_the_bound_within_24_bits(bound: float) -> None:
    k = Codec(bound).scale_exponent
    assert Fraction(bound) * Fraction(2) ** k <= 2**24 < Fraction(bound) * Fraction(2) ** (k + 1)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf, 1e-30, 1e30])
def test_unusable_bound_is_refused(bound: float) -> None:
    with pytest.raises(ConfigError, match="norm bound"):
        Codec(bound)


@given(updates, bounds)
def test_round_trip_is_within_half_a_step_where_the_clip_does_not_bind(
    update: dict[str, np.ndarray], bound: float
) -> None:
    codec = Codec(bound)
    update = {name: tensor.astype(np.float64) for name, tensor in update.items()}
    size = sum(tensor.size for tensor in update.values())
    norm = math.sqrt(sum(float(np.sum(tensor**2)) for tensor in update.values()))
    update = {
        name: (tensor / (norm or 1.0) * 0.9 * bound).astype(np.float32) for name, tensor in update.items()
    }
    decoded = codec.decode(codec.encode(update), layout_of(update))
    flat = np.concatenate([update[name].ravel() for name in sorted(update)] or [np.empty(0)])
    assert decoded.values.shape == (size,)
    for value, integer in zip(flat, decoded.values, strict=True):
        assert abs(Fraction(float(value)) * Fraction(2) ** codec.scale_exponent - int(integer)) <= Fraction(
            1, 2
        )


@settings(max_examples=300)
@given(updates, bounds)
def test_encoded_update_is_within_the_bound(update: dict[str, np.ndarray], bound: float) -> None:
    codec = Codec(bound)
    decoded = codec.decode(codec.encode(update), layout_of(update))
    assert exact_square_norm(decoded.values) <= exact_limit(codec)


@pytest.mark.parametrize("fraction", [0.5, 0.4999999, 0.5000001, 1 / 3])
def test_worst_rounding_of_a_clipped_update_is_within_the_bound(fraction: float) -> None:
    codec = Codec(1.0)
    size = 200_000
    value = np.float32(np.ldexp(int(2**24 / math.sqrt(size)) + fraction, -24))
    decoded = codec.decode(codec.encode({"w": np.full(size, value)}), (("w", (size,)),))
    assert exact_square_norm(decoded.values) <= exact_limit(codec)


def test_ties_go_to_even() -> None:
    halves = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], np.float32)
    update = {"w": np.ldexp(halves, -24)}
    values = Codec(1.0).decode(Codec(1.0).encode(update), layout_of(update)).values
    assert values.tolist() == [0, 2, 2, 0, -2, -2]


def test_clip_that_binds_keeps_the_direction() -> None:
    update = {"w": np.array([3e20, -4e20, 0], np.float32)}
    values = Codec(1.0).decode(Codec(1.0).encode(update), layout_of(update)).values
    assert np.abs(values / 2**24 - [0.6, -0.8, 0]).max() < 2**-22


@given(updates, st.randoms(use_true_random=False))
def test_bytes_depend_on_the_values_only(update: dict[str, np.ndarray], random: object) -> None:
    names = list(update)
    random.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: update[name] for name in names}
    strided = {name: np.repeat(tensor[..., None], 2, axis=-1)[..., 0] for name, tensor in update.items()}
    swapped = {name: tensor.astype(tensor.dtype.newbyteorder(">")) for name, tensor in update.items()}
    fortran = {name: np.array(tensor, order="F") for name, tensor in update.items()}
    reference = Codec(2.0).encode(update)
    for same in (shuffled, strided, swapped, fortran):
        assert Codec(2.0).encode(same) == reference


def test_bytes_are_pinned() -> None:
    """A change of these bytes is a change of format: it needs another version in the magic."""
    update = {"b": np.array([[0.25, -0.5]], np.float32), "a": np.array(1.5 * 2**-24, np.float32)}
    content = Codec(1.0).encode(update)
    assert content == (
        b"FCUPDT\x00\x01" + b"\x18\x00" + b"\x02\x00\x00\x00"
        b"\x01\x00a\x00" + b"\x01\x00b\x02\x01\x00\x00\x00\x02\x00\x00\x00"
        b"\x02\x00\x00\x00" + b"\x00\x00\x40\x00" + b"\x00\x00\x80\xff"
    )


def test_clipped_bytes_are_pinned() -> None:
    """The norm that a clip divides by is the same on every machine, whatever BLAS adds first."""
    wave = (np.arange(100_000) * 7919 % 977 - 488).astype(np.float32) / np.float32(977)
    digest = hashlib.sha256(Codec(0.7).encode({"w": wave})).hexdigest()
    assert digest == "81518c237f8e032e15ac92029f7c1b43d7a3cfc854b734e4aa3c84320859eb41"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_encoding_refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(Refused) as caught:
        Codec(1.0).encode({"w": np.array([0.0, bad], np.float32)})
    assert caught.value.reason is Reason.NOT_FINITE


def test_decoding_refuses_the_mark_of_a_nan() -> None:
    content, layout = encoded(Codec(1.0), [1, -(2**31)])
    assert refusal(Codec(1.0), content, layout) is Reason.NOT_FINITE


@given(updates.filter(bool), st.data())
def test_any_other_header_or_length_is_malformed(update: dict[str, np.ndarray], data: st.DataObject) -> None:
    codec, layout = Codec(1.0), layout_of(update)
    content = codec.encode(update)
    header = len(content) - 4 * sum(tensor.size for tensor in update.values())
    at = data.draw(st.integers(0, header - 1))
    changed = content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :]
    for wrong in (changed, content[:-1], content + b"\0", content + content, b"", content[:header][:-1]):
        assert refusal(codec, wrong, layout) is Reason.MALFORMED


def test_another_scale_or_layout_is_malformed() -> None:
    update = {"w": np.ones((2, 3), np.float32)}
    content = Codec(1.0).encode(update)
    assert refusal(Codec(4.0), content, layout_of(update)) is Reason.MALFORMED
    assert refusal(Codec(1.0), content, (("w", (3, 2)),)) is Reason.MALFORMED
    assert refusal(Codec(1.0), content, (("v", (2, 3)),)) is Reason.MALFORMED


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=40), bounds)
def test_hostile_norms_are_decided_exactly(values: list[int], bound: float) -> None:
    codec = Codec(bound)
    assert codec.admits(np.array(values, np.int32)) == (exact_square_norm(values) <= exact_limit(codec))


@pytest.mark.parametrize("ones", [0, 2**16 - 1, 2**16, 3 * 2**17])
def test_one_unit_above_the_bound_is_refused(ones: int) -> None:
    """Squares that add up to the bound's square exactly, then one more; the long ones cross the sum's chunks."""
    values, remainder = [1] * ones, 2**48 - ones
    while remainder:
        values.append(math.isqrt(remainder))
        remainder -= values[-1] ** 2
    assert Codec(1.0).admits(np.array(values, np.int32))
    assert not Codec(1.0).admits(np.array([*values, 1], np.int32))


def test_overflow_is_not_a_way_around_the_norm() -> None:
    codec = Codec(1.0)
    assert not codec.admits(np.full(4, 2**31 - 1, np.int32))  # the squares wrap to 4 in int32
    assert not codec.admits(np.full(1 << 20, 2**24, np.int32))
