"""Intervals of a model's figures by resampling patients: images of one patient are not independent."""

from collections.abc import Callable, Sequence
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


class Bootstrap:
    """A figure of each label, and what it came to in many draws of patients.

    A label that is undefined in some draw, for want of a positive patient, gets no interval, and neither does a mean
    that rests on it. Percentile intervals: Efron and Tibshirani 1993, chapter 13.
    """

    def __init__(
        self,
        label_names: Sequence[str],
        values: Sequence[float | None],
        draws: npt.NDArray[np.float64],
    ) -> None:
        """`draws` is float64[draws, L], NaN where a label was undefined."""
        self._columns = {name: column for column, name in enumerate(label_names)}
        self._values = values
        self._draws = draws

    def label(self, name: str) -> Interval:
        """The figure of one label."""
        column = self._columns[name]
        return _interval(self._values[column], self._draws[:, column])

    def mean(self, names: Sequence[str]) -> Interval:
        """The mean over those of `names` that could be measured at all."""
        columns = [self._columns[name] for name in names]
        measured = [column for column in columns if self._values[column] is not None]
        value = mean_of_measured(self._values[column] for column in measured)
        return Interval(None) if value is None else _interval(value, self._draws[:, measured].mean(axis=1))


def bootstrap(
    figure: LabelFigure, scores: Scores, data: ChestDataset, *, resamples: int, seed: int
) -> Bootstrap:
    """`figure` of each label, also in `resamples` draws of as many patients as there are, with replacement.

    `scores` is float32[N,L] in the order of `data`.
    """
    truth = data.targets > 0.5
    random = np.random.default_rng(seed)
    drawn = [_by_label(figure, scores, truth, data.mask, _draw(random, data)) for _ in range(resamples)]
    draws = np.array([[np.nan if value is None else value for value in values] for values in drawn])
    values = _by_label(figure, scores, truth, data.mask, None)
    return Bootstrap(data.label_names, values, draws.reshape(resamples, len(data.label_names)))


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
    """How often each image counts."""
    drawn = random.integers(data.patient_count, size=data.patient_count)
    return np.bincount(drawn, minlength=data.patient_count)[data.patients].astype(np.float64)


def _interval(value: float | None, draws: npt.NDArray[np.float64]) -> Interval:
    if value is None or len(draws) == 0 or not np.isfinite(draws).all():
        return Interval(value)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
