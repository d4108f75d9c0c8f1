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
    UNKNOWN,
    UncertaintyPolicy,
    chexpert_positive_weights,
    self_trained,
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
        (UncertaintyPolicy.ZEROS_SMOOTHED, UNCERTAIN, 0.15, True),
        (UncertaintyPolicy.ONES_SMOOTHED, UNCERTAIN, 0.70, True),
        (UncertaintyPolicy.MULTICLASS, UNCERTAIN, None, False),
        (UncertaintyPolicy.SELF_TRAINED, UNCERTAIN, None, False),
        *((policy, POSITIVE, 1.0, True) for policy in UncertaintyPolicy),
        *((policy, NEGATIVE, 0.0, True) for policy in UncertaintyPolicy),
        *((policy, BLANK, 0.0, True) for policy in UncertaintyPolicy),
        *((policy, UNKNOWN, None, False) for policy in UncertaintyPolicy),
    ],
)
def test_each_policy_reads_each_value(
    policy: UncertaintyPolicy, value: int, target: float | None, counts: bool
) -> None:
    values, mask, _ = targets(one_row(value), ["Edema"], {"Edema": policy})
    assert mask[0, 0] == counts
    if target is not None:
        assert values[0, 0] == np.float32(target)


@given(st.lists(st.sampled_from([POSITIVE, NEGATIVE, UNCERTAIN, BLANK]), min_size=14, max_size=14))
def test_policies_are_per_label_and_touch_no_other(row: list[int]) -> None:
    labels = np.array([row], dtype=np.int8)
    policies = dict.fromkeys(OBSERVATIONS, UncertaintyPolicy.ZEROS) | {"Atelectasis": UncertaintyPolicy.ONES}
    values, mask, uncertain = targets(labels, OBSERVATIONS, policies)
    for column, name in enumerate(OBSERVATIONS):
        affirmed = row[column] == POSITIVE or (row[column] == UNCERTAIN and name == "Atelectasis")
        assert values[0, column] == float(affirmed)
    assert mask.all()
    assert not uncertain.any()


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


@pytest.mark.parametrize("policy", UncertaintyPolicy)
def test_uncertain_labels_are_told_apart_where_the_policy_answers_them_itself(
    policy: UncertaintyPolicy,
) -> None:
    apart = {UncertaintyPolicy.MULTICLASS, UncertaintyPolicy.SELF_TRAINED}
    labels = np.concatenate([one_row(value) for value in (UNCERTAIN, POSITIVE, NEGATIVE, BLANK, UNKNOWN)])
    found = targets(labels, ["Edema", "Fracture"], {"Edema": policy, "Fracture": UncertaintyPolicy.ZEROS})
    assert found.uncertain.tolist() == [[policy in apart, False]] + 4 * [[False, False]]
    assert not (found.mask & found.uncertain).any()


def test_a_teacher_answers_what_is_uncertain_and_nothing_else() -> None:
    labels = np.concatenate([one_row(UNCERTAIN), one_row(POSITIVE), one_row(UNKNOWN)])
    values, mask, uncertain = targets(labels, ["Edema"], {"Edema": UncertaintyPolicy.SELF_TRAINED})
    answered = self_trained(values, mask, uncertain, np.array([[0.3], [0.4], [0.5]], np.float32))
    np.testing.assert_allclose(answered.values[:2], [[0.3], [1.0]])
    assert answered.mask.tolist() == [[True], [True], [False]]
    assert not answered.uncertain.any()


@pytest.mark.parametrize("score", [1.5, -0.1, np.nan])
def test_a_teachers_logit_is_refused(score: float) -> None:
    ones = np.ones((1, 1), np.bool_)
    with pytest.raises(ConfigError, match="not probabilities"):
        self_trained(np.zeros((1, 1), np.float32), ~ones, ones, np.array([[score]], np.float32))


def test_positive_weights_are_those_of_chexperts_published_labels() -> None:
    """A third of the images has an opacity, a sixtieth another pleural finding: the rare weighs more."""
    opacity, other = chexpert_positive_weights(["Lung Opacity", "Pleural Other"])
    assert opacity == pytest.approx((223_414 - 105_581 - 5_598) / 105_581)
    assert other == pytest.approx((223_414 - 3_523 - 2_653) / 3_523)
    assert (chexpert_positive_weights(OBSERVATIONS) > 0.8).all()
    with pytest.raises(ConfigError, match="'Effusion'"):
        chexpert_positive_weights(["Effusion"])
