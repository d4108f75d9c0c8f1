"""Fingerprints: what is evaluated, that they add up as vectors do, and what one changed step does to them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fedchest.aggregation.fingerprint import MODULUS, NOTHING, POINTS, SumClaim, combined, fingerprint

LARGEST = 2**53
POINT = st.integers(1, MODULUS - 1)
POINTS_OF = st.tuples(POINT, POINT, POINT)
CLAIM = SumClaim(31337, "0x" + 40 * "1", b"s" * 32, 3, (b"a" * 32, b"b" * 32), (1, 2), b"h" * 32)


def by_the_definition(values: list[int], points: tuple[int, ...]) -> bytes:
    evaluated = (sum(v * pow(r, j, MODULUS) for j, v in enumerate(values)) % MODULUS for r in points)
    return b"".join(lane.to_bytes(8) for lane in evaluated)


def vectors(size: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    return size.flatmap(
        lambda d: npst.arrays(np.int64, d, elements=st.integers(-LARGEST, LARGEST), fill=st.just(LARGEST))
    )


@given(values=vectors(st.sampled_from([0, 1, 7, 2047, 2048, 2049, 5000])), points=POINTS_OF)
def test_is_the_polynomial_at_the_points(values, points):
    assert fingerprint(values, points) == by_the_definition(values.tolist(), points)


def test_the_largest_values_at_the_largest_points_are_exact():
    values = np.full(4096, -LARGEST)
    points = (MODULUS - 1, MODULUS - 2, 2**60)
    assert fingerprint(values, points) == by_the_definition(values.tolist(), points)


@given(
    updates=npst.arrays(np.int32, (3, 40), elements=st.integers(-(2**24), 2**24)),
    weights=st.lists(st.integers(1, 65535), min_size=3, max_size=3),
    points=POINTS_OF,
)
def test_shares_combine_to_the_fingerprint_of_the_sum(updates, weights, points):
    total = np.array(weights, np.int64) @ updates.astype(np.int64)
    gathered = NOTHING
    for update, weight in zip(updates, weights, strict=True):
        gathered = combined(gathered, fingerprint(update, points), weight)
    assert gathered == fingerprint(total, points)


@given(
    values=npst.arrays(np.int64, 50, elements=st.integers(-LARGEST, LARGEST)),
    place=st.integers(0, 49),
    change=st.integers(1, LARGEST),
)
def test_one_changed_value_changes_it(values, place, change):
    points = CLAIM.points()
    changed = values.copy()
    changed[place] += change
    assert fingerprint(changed, points) != fingerprint(values, points)


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": 1},
        {"contract": "0x" + 40 * "2"},
        {"study": b"t" * 32},
        {"round": 4},
        {"commitments": (b"b" * 32, b"a" * 32)},
        {"commitments": (b"a" * 32, b"c" * 32)},
        {"weight_classes": (2, 1)},
        {"sum_hash": b"i" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_that_is_claimed_moves_every_point(change):
    there = zip(CLAIM.points(), replace(CLAIM, **change).points(), strict=True)
    assert all(one != other for one, other in there)


def test_three_different_points_below_the_modulus():
    points = CLAIM.points()
    assert len(set(points)) == POINTS
    assert all(0 < point < MODULUS for point in points)
