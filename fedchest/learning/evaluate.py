"""How well a model ranks images: areas under the ROC and the precision-recall curve, per label."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata

from fedchest.data.dataset import ChestDataset
from fedchest.learning.batches import network_input
from fedchest.models.chest import ChestModel

IMAGES_AT_ONCE = 256

Scores = npt.NDArray[np.float32]
Truth = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Evaluation:
    """Figures in [0, 1] by label, None where the labels hold one class only; `images` were scored."""

    auroc: Mapping[str, float | None]
    average_precision: Mapping[str, float | None]
    images: int

    @property
    def mean_auroc(self) -> float | None:
        """Mean over the labels that could be measured; None when none could."""
        return _mean(self.auroc)

    @property
    def mean_average_precision(self) -> float | None:
        """Mean over the labels that could be measured; None when none could."""
        return _mean(self.average_precision)


def evaluate(model: ChestModel, data: ChestDataset) -> Evaluation:
    """Score every image of `data` and compare with the labels that its mask lets count."""
    scores = predict(model, data)
    truth = data.targets > 0.5
    return Evaluation(
        auroc=_by_label(area_under_roc, data, scores, truth),
        average_precision=_by_label(average_precision, data, scores, truth),
        images=len(data.images),
    )


def predict(model: ChestModel, data: ChestDataset) -> Scores:
    """Logits float32[N,L], in the order of `data`."""
    model.eval()
    logits = [np.empty((0, len(data.label_names)), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(data.images), IMAGES_AT_ONCE):
            logits.append(model(network_input(data.images[start : start + IMAGES_AT_ONCE])).logits.numpy())
    return np.concatenate(logits)


def area_under_roc(scores: Scores, truth: Truth) -> float | None:
    """The share of (positive, negative) pairs in the right order, ties as half: Mann and Whitney's U.

    `scores` float[N], `truth` bool[N]. None without both classes.
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return None
    ranks = rankdata(scores)
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(scores: Scores, truth: Truth) -> float | None:
    """Precision averaged over the positives, tied scores taken together. None without both classes."""
    positives = int(truth.sum())
    if positives in (0, len(truth)):
        return None
    thresholds, last = np.unique(-scores, return_inverse=True)
    hits = np.bincount(last, weights=truth, minlength=len(thresholds))
    seen = np.bincount(last, minlength=len(thresholds)).cumsum()
    return float((hits * hits.cumsum() / seen).sum() / positives)


def _by_label(
    figure: Callable[[Scores, Truth], float | None], data: ChestDataset, scores: Scores, truth: Truth
) -> dict[str, float | None]:
    return {
        name: figure(scores[data.mask[:, label], label], truth[data.mask[:, label], label])
        for label, name in enumerate(data.label_names)
    }


def _mean(figures: Mapping[str, float | None]) -> float | None:
    measured = [figure for figure in figures.values() if figure is not None]
    return sum(measured) / len(measured) if measured else None
