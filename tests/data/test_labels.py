"""Labels become targets as Irvin et al. 2019 describe."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedchest.data.labels import (
    BLANK,
    COMPETITION,
    DEFAULT_POLICIES,
    NEGATIVE,
    OBSERVATIONS,
    POSITIVE,
    UNCERTAIN,
    UncertaintyPolicy,
    targets,
)
from fedchest.errors import ConfigError


def one_row(value: int) -> np.ndarray:
    return np.full((1, len(OBSERVATIONS)), value, dtype=np.int8)


@pytest.mark.parametrize(
    ("policy", "value", "target", "counts"),
    [
        (UncertaintyPolicy.IGNORE, UNCERTAIN, None, False),
        (UncertaintyPolicy.ZEROS, UNCERTAIN, 0.0, True),
        (UncertaintyPolicy.ONES, UNCERTAIN, 1.0, True),
        (UncertaintyPolicy.IGNORE, POSITIVE, 1.0, True),
        (UncertaintyPolicy.ZEROS, POSITIVE, 1.0, True),
        (UncertaintyPolicy.ONES, NEGATIVE, 0.0, True),
        (UncertaintyPolicy.ONES, BLANK, 0.0, True),
    ],
)
def test_each_policy_reads_each_value(
    policy: UncertaintyPolicy, value: int, target: float | None, counts: bool
) -> None:
    values, mask = targets(one_row(value), ["Edema"], {"Edema": policy})
    assert mask[0, 0] == counts
    if target is not None:
        assert values[0, 0] == target


@given(st.lists(st.sampled_from([POSITIVE, NEGATIVE, UNCERTAIN, BLANK]), min_size=14, max_size=14))
def test_policies_are_per_label_and_touch_no_other(row: list[int]) -> None:
    labels = np.array([row], dtype=np.int8)
    policies = dict.fromkeys(OBSERVATIONS, UncertaintyPolicy.ZEROS) | {"Atelectasis": UncertaintyPolicy.ONES}
    values, mask = targets(labels, OBSERVATIONS, policies)
    for column, name in enumerate(OBSERVATIONS):
        affirmed = row[column] == POSITIVE or (row[column] == UNCERTAIN and name == "Atelectasis")
        assert values[0, column] == float(affirmed)
    assert mask.all()


def test_default_policies_are_the_best_published_ones() -> None:
    best = {name: DEFAULT_POLICIES[name].value for name in COMPETITION}
    assert best == {
        "Atelectasis": "u-ones",
        "Cardiomegaly": "u-zeros",
        "Consolidation": "u-ignore",
        "Edema": "u-ones",
        "Pleural Effusion": "u-ones",
    }


def test_unknown_label_and_missing_policy_are_named() -> None:
    with pytest.raises(ConfigError, match="'Effusion' is not an observation"):
        targets(one_row(1), ["Effusion"], DEFAULT_POLICIES)
    with pytest.raises(ConfigError, match="'Edema'"):
        targets(one_row(1), ["Edema"], {})
