"""The area under the ROC curve without a float: how many pairs of images a model puts in the right order.

AUROC = (2 pairs in order + pairs tied) / (2 pairs), over all pairs of a positive and a negative image (Hanley and
McNeil 1982).
"""

import numpy as np
from numpy.typing import NDArray

from fedchest.contribution.draws import Integers


def concordance(scores: NDArray[np.uint16], positive: NDArray[np.bool_], weights: Integers) -> Integers:
    """Twice the pairs in order plus the tied ones, int64[B], under each row of `weights`.

    `scores` and `positive` are [N]; `weights` int64[B, N] says how often each image counts, less than 2^31 in all.
    """
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    weighted, is_positive = weights[:, order], positive[order]
    positives = np.add.reduceat(weighted * is_positive, starts, axis=1)
    negatives = np.add.reduceat(weighted * ~is_positive, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    concordant: Integers = (positives * (2 * below + negatives)).sum(axis=1)
    return concordant


def pairs(positive: NDArray[np.bool_], weights: Integers) -> Integers:
    """Twice the pairs of a positive and a negative image, int64[B], under each row of `weights`, int64[B, N]."""
    counted: Integers = 2 * (weights @ positive.astype(np.int64)) * (weights @ (~positive).astype(np.int64))
    return counted
