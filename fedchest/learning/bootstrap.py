"""Intervals of a model's figures by resampling patients: images of one patient are not independent."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedchest.data.dataset import ChestDataset
from fedchest.learning.metrics import Scores, Truth, Weights, mean_of_measured

LEVEL = 0.95

LabelFigure = Callable[[Scores, Truth, Weights | None], float | None]


class Interval(NamedTuple):
    """A figure and the bounds of its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Intervals(NamedTuple):
    """A figure of each label and its mean over the labels that could be measured."""

    by_label: Mapping[str, Interval]
    mean: Interval


def bootstrap(
    figure: LabelFigure, scores: Scores, data: ChestDataset, *, resamples: int, seed: int
) -> Intervals:
    """`figure` of each label with percentile intervals over `resamples` draws of patients with replacement.

    `scores` is float32[N,L] in the order of `data`. A label that is undefined in some draw, for want of a positive
    patient, gets no interval, and neither does a mean that rests on it (Efron and Tibshirani 1993, chapter 13).
    """
    truth = data.targets > 0.5
    value = _by_label(figure, scores, truth, data.mask, None)
    random = np.random.default_rng(seed)
    draws = np.array(
        [
            [
                np.nan if drawn is None else drawn
                for drawn in _by_label(figure, scores, truth, data.mask, weights)
            ]
            for weights in (_draw(random, data) for _ in range(resamples))
        ]
    ).reshape(resamples, len(data.label_names))
    measured = [label for label, found in enumerate(value) if found is not None]
    means = draws[:, measured].mean(axis=1) if measured else np.full(resamples, np.nan)
    return Intervals(
        {name: _interval(value[label], draws[:, label]) for label, name in enumerate(data.label_names)},
        _interval(mean_of_measured(value), means),
    )


def _by_label(
    figure: LabelFigure, scores: Scores, truth: Truth, mask: Truth, weights: Weights | None
) -> list[float | None]:
    return [
        figure(
            scores[mask[:, label], label],
            truth[mask[:, label], label],
            None if weights is None else weights[mask[:, label]],
        )
        for label in range(scores.shape[1])
    ]


def _draw(random: np.random.Generator, data: ChestDataset) -> Weights:
    """How often each image counts when as many patients as there are are drawn with replacement."""
    times = np.bincount(
        random.integers(data.patient_count, size=data.patient_count), minlength=data.patient_count
    )
    return times[data.patients].astype(np.float64)


def _interval(value: float | None, draws: npt.NDArray[np.float64]) -> Interval:
    if value is None or len(draws) == 0 or not np.isfinite(draws).all():
        return Interval(value)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
