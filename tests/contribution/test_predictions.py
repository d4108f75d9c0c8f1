"""The artifact of predictions: one content, one form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedchest.contribution.predictions import Predictions, Truth, quantised
from fedchest.errors import StoreError


def example() -> Predictions:
    random = np.random.default_rng(3)
    truth = Truth(
        patients=np.array([0, 0, 1, 2, 1], np.int64),
        positive=np.array([[1, 0], [0, 0], [0, 1], [1, 1], [0, 0]], bool),
        counted=np.array([[1, 1], [1, 0], [1, 1], [1, 1], [0, 1]], bool),
    )
    return Predictions(truth, random.integers(0, 65536, size=(3, 5, 2)).astype(np.uint16))


CONTENT = example().to_bytes()


def test_what_is_written_is_read():
    found = Predictions.from_bytes(CONTENT)
    assert (found.logits == example().logits).all()
    assert found.truth.digest() == example().truth.digest()
    assert (found.truth.patients == example().truth.patients).all()
    assert (found.truth.positive == example().truth.positive).all()
    assert (found.truth.counted == example().truth.counted).all()


def test_the_layout_is_the_documented_one():
    assert CONTENT[:8] == b"FCPRED\x00\x01"
    assert CONTENT[8:18] == b"\x03\x00\x00\x00\x05\x00\x00\x00\x02\x00"
    assert CONTENT[18:38] == b"".join(number.to_bytes(4, "little") for number in (0, 0, 1, 2, 1))
    assert CONTENT[38:48] == bytes([1, 0, 0, 2, 0, 1, 1, 1, 2, 0])
    assert len(CONTENT) == 48 + 2 * 3 * 5 * 2


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_is_another_content(place, mask):
    """Content and bytes are one to one, so that the hash is the content's."""
    changed = bytearray(CONTENT)
    changed[place] ^= mask
    try:
        found = Predictions.from_bytes(bytes(changed))
    except StoreError:
        return
    assert found.to_bytes() == changed


@given(st.binary(max_size=80))
def test_what_is_no_file_of_predictions_is_refused(content):
    for candidate in (content, CONTENT[:18] + content, CONTENT + b"\0", CONTENT[:-1]):
        with pytest.raises(StoreError, match="not predictions"):
            Predictions.from_bytes(candidate)


@pytest.mark.parametrize(
    ("place", "value"), [(18, 1), (26, 5), (38, 3)], ids=["patient 1 first", "patient 5 skips", "label 3"]
)
def test_what_has_two_forms_elsewhere_has_one_here(place, value):
    changed = bytearray(CONTENT)
    changed[place] = value
    with pytest.raises(StoreError):
        Predictions.from_bytes(bytes(changed))


def test_logits_are_quantised_to_the_nearest_step_and_cut_off():
    logits = np.array([0, 2**-11, 0.7 * 2**-11, -1, 15.9999, 16, 99, -16, -99, np.inf, -np.inf, np.nan])
    steps = [32768, 32769, 32769, 30720, 65535, 65535, 65535, 0, 0, 65535, 0, 0]
    assert quantised(logits.astype(np.float32)).tolist() == steps
