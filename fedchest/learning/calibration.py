"""Probabilities that mean what they say: one temperature a label (Guo et al. 2017, section 4.2)."""

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from fedchest.learning.metrics import Scores, Truth

_RANGE = (math.log(1e-2), math.log(1e2))
"""Of the temperature's logarithm."""


def temperature(scores: Scores, truth: Truth) -> float | None:
    """The T by which the likelihood of `truth` bool[N] under sigmoid(scores / T) is highest, in [0.01, 100].

    `scores` are logits float[N]. None without both classes, or for a score that is no number.
    """
    if not truth.any() or truth.all() or not np.isfinite(scores).all():
        return None
    towards = np.where(truth, scores, -scores).astype(np.float64)
    found = minimize_scalar(lambda log: _negative_log_likelihood(towards * math.exp(-log)), bounds=_RANGE)
    return math.exp(found.x)


def _negative_log_likelihood(towards_truth: npt.NDArray[np.float64]) -> float:
    return float(np.logaddexp(0.0, -towards_truth).mean())
