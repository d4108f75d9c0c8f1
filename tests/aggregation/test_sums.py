"""The sum as an artifact: its bytes, what is no sum, and the exact bound on its mean."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fedchest.aggregation.sums import mean_within_bound, parse_sum, sum_bytes
from fedchest.protection.codec import Codec
from fedchest.refusals import Reason, Refused

LAYOUT = (("bias", (3,)), ("weight", (2, 5)))
SIZE, LARGEST = 13, 2**53
CODEC = Codec(1.5)
TOTALS = npst.arrays(np.int64, SIZE, elements=st.integers(-LARGEST, LARGEST))


@given(total=TOTALS)
def test_comes_back_as_it_was(total):
    assert np.array_equal(parse_sum(sum_bytes(total, LAYOUT, CODEC), LAYOUT, CODEC), total)


@given(total=TOTALS, place=st.integers(0, 400))
def test_what_is_cut_or_lengthened_is_refused(total, place):
    content = sum_bytes(total, LAYOUT, CODEC)
    for wrong in (content[: place % len(content)], content + b"\0"):
        with pytest.raises(Refused) as refused:
            parse_sum(wrong, LAYOUT, CODEC)
        assert refused.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("layout", "codec"),
    [((("bias", (3,)), ("weight", (5, 2))), CODEC), (LAYOUT, Codec(4.0))],
    ids=["layout", "scale"],
)
def test_a_sum_of_another_layout_or_scale_is_refused(layout, codec):
    content = sum_bytes(np.zeros(SIZE, np.int64), layout, codec)
    with pytest.raises(Refused):
        parse_sum(content, LAYOUT, CODEC)


@pytest.mark.parametrize("value", [LARGEST + 1, -LARGEST - 1, np.iinfo(np.int64).min])
def test_a_value_that_no_sum_reaches_is_refused(value):
    total = np.zeros(SIZE, np.int64)
    total[4] = value
    with pytest.raises(Refused):
        parse_sum(sum_bytes(total, LAYOUT, CODEC), LAYOUT, CODEC)


@given(total=TOTALS, weight=st.integers(1, 2**29))
def test_the_bound_is_decided_as_by_fractions(total, weight):
    squared = sum(Fraction(int(value)) ** 2 for value in total)
    bound = Fraction(CODEC.norm_bound) * Fraction(2) ** CODEC.scale_exponent * weight
    assert mean_within_bound(total, weight, CODEC) == (squared <= bound**2)


def test_a_step_beyond_the_bound_is_beyond():
    most = int(CODEC.norm_bound * 2**CODEC.scale_exponent)
    total = np.zeros(SIZE, np.int64)
    total[0] = 7 * most
    assert mean_within_bound(total, 7, CODEC)
    total[1] = 1
    assert not mean_within_bound(total, 7, CODEC)
