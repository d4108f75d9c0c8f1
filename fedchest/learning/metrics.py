"""Figures of one label's ranking, by scikit-learn; None where they are not defined."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

Scores = npt.NDArray[np.float32]
Truth = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float64]


def area_under_roc(scores: Scores, truth: Truth, weights: Weights | None = None) -> float | None:
    """The share of (positive, negative) pairs in the right order, ties as half.

    `scores` float[N], `truth` bool[N], `weights` float[N] how often each counts. None without both classes, or for
    a score that is no number.
    """
    return (
        float(roc_auc_score(truth, scores, sample_weight=weights))
        if _is_defined(scores, truth, weights)
        else None
    )


def average_precision(scores: Scores, truth: Truth, weights: Weights | None = None) -> float | None:
    """Precision averaged over the positives, tied scores taken together. Arguments as `area_under_roc`."""
    return (
        float(average_precision_score(truth, scores, sample_weight=weights))
        if _is_defined(scores, truth, weights)
        else None
    )


def mean_of_measured(figures: Iterable[float | None]) -> float | None:
    """Mean over the labels that could be measured; None when none could."""
    measured = [figure for figure in figures if figure is not None]
    return sum(measured) / len(measured) if measured else None


def _is_defined(scores: Scores, truth: Truth, weights: Weights | None) -> bool:
    """Both classes are there, and every score is a number."""
    counted = truth if weights is None else truth[weights > 0]
    return bool(np.isfinite(scores).all() and counted.any() and not counted.all())
