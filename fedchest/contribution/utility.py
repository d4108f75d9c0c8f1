"""What a coalition's model is worth: its mean AUROC on the public images, as a fraction, also with patients redrawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np

from fedchest.contribution.design import Coalition
from fedchest.contribution.draws import Integers
from fedchest.contribution.predictions import Predictions
from fedchest.contribution.ranking import concordance, pairs


@dataclass(frozen=True)
class Utilities:
    """v(C) = numerators[C] / denominator for each coalition C."""

    numerators: Mapping[Coalition, int]
    denominator: int


def utilities(
    predictions: Predictions, coalitions: Sequence[Coalition], weights: Integers
) -> list[Utilities | None]:
    """The coalitions' utilities under each row of `weights`, int64[B, N], how often each image counts.

    The labels that count are those with both classes under the first row; a row that leaves one of them a single
    class measures nothing: None. All are None where no label counts.
    """
    columns = [_column(predictions, label, weights) for label in range(predictions.logits.shape[2])]
    measured = [(concordant, total) for concordant, total in columns if total[0] > 0]
    if not measured:
        return [None] * len(weights)
    return [
        _mean(coalitions, [(concordant[:, row].tolist(), int(total[row])) for concordant, total in measured])
        for row in range(len(weights))
    ]


def _column(predictions: Predictions, label: int, weights: Integers) -> tuple[Integers, Integers]:
    """Of one label: pairs in order int64[C, B], and pairs int64[B]; both twice."""
    rows = predictions.truth.counted[:, label]
    positive, counts = predictions.truth.positive[rows, label], weights[:, rows]
    total = pairs(positive, counts)
    if not total.any():
        return np.zeros((len(predictions.logits), len(weights)), np.int64), total
    scores = predictions.logits[:, rows, label]
    return np.stack([concordance(model, positive, counts) for model in scores]), total


def _mean(coalitions: Sequence[Coalition], labels: Sequence[tuple[list[int], int]]) -> Utilities | None:
    """The labels' mean, over one denominator."""
    if any(total == 0 for _, total in labels):
        return None
    denominator = lcm(*(total for _, total in labels))
    numerators = {
        coalition: sum(concordant[place] * (denominator // total) for concordant, total in labels)
        for place, coalition in enumerate(coalitions)
    }
    return Utilities(numerators, denominator * len(labels))
