"""One temperature a label, against scikit-learn's logistic regression without an intercept."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from fedchest.learning.calibration import temperature


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_it_is_what_logistic_regression_finds(true: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=4000)
    truth = random.random(4000) < expit(logits)
    scores = (true * logits).astype(np.float32)
    oracle = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(scores[:, None], truth)
    found = temperature(scores, truth)
    assert found == pytest.approx(1 / oracle.coef_[0, 0], rel=1e-3)
    assert found == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize(
    ("scores", "truth"),
    [([1.0, 2.0], [True, True]), ([1.0, 2.0], [False, False]), ([np.nan, 1.0], [True, False]), ([], [])],
)
def test_it_is_undefined_where_nothing_can_be_fitted(scores: list[float], truth: list[bool]) -> None:
    assert temperature(np.array(scores, np.float32), np.array(truth, bool)) is None


def test_it_stays_in_range_where_scores_separate_the_classes() -> None:
    found = temperature(np.array([-3.0, 2.0], np.float32), np.array([False, True]))
    assert found == pytest.approx(0.01, rel=0.01)
