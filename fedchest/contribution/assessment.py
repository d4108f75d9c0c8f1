"""From predictions to scores: each institution's value in exact arithmetic, its interval, its score.

Values are sums of utilities (`design.py`) and stay fractions until they are rounded down to millionths. An interval is
of the percentiles of values with patients drawn again with replacement (Efron and Tibshirani 1993, chapter 13), and
with drawn orders drawn again too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np

from fedchest.contribution import draws
from fedchest.contribution.design import (
    Design,
    Method,
    Scoring,
    leave_one_out,
    shapley,
    shapley_over,
)
from fedchest.contribution.draws import Integers
from fedchest.contribution.predictions import Predictions, Truth
from fedchest.contribution.utility import Utilities, utilities
from fedchest.errors import ConfigError

MICRO = 1_000_000
_TAIL_PERMILLE = 25


@dataclass(frozen=True)
class Value:
    """What one institution added to the mean AUROC, and the bounds of its 95 % interval, in millionths.

    Bounds are None where some draw of patients left a label with one class only.
    """

    value: int
    low: int | None
    high: int | None


@dataclass(frozen=True)
class Trial:
    """What a round's updates are tried by: the study's rule, their number, and a seed that follows from the round."""

    scoring: Scoring
    institutions: int
    seed: bytes

    def design(self) -> Design:
        """Which coalitions are tried, and what the values are made of."""
        if not self.scoring.is_exact(self.institutions):
            return shapley_over(self._orders())
        return (shapley if self.scoring.method is Method.SHAPLEY else leave_one_out)(self.institutions)

    def redrawn(self) -> list[Design]:
        """The design of each resample: drawn orders are drawn again from among themselves, what is exact stays."""
        count, orders = self.scoring.resamples, self.scoring.permutations
        if self.scoring.is_exact(self.institutions):
            return [self.design()] * count
        return [
            shapley_over(self._orders(), times)
            for times in draws.resamples(self.seed, b"orders", count, orders)
        ]

    def weights(self, truth: Truth) -> Integers:
        """How often each image counts: once, then in each resample of the patients; int64[1 + resamples, N]."""
        patients = int(truth.patients.max(initial=-1)) + 1
        counts = draws.resamples(self.seed, b"patients", self.scoring.resamples, patients)
        everyone = np.ones((1, patients), np.int64)
        drawn: Integers = np.concatenate((everyone, counts))[:, truth.patients]
        return drawn

    def _orders(self) -> Integers:
        return draws.permutations(self.seed, self.scoring.permutations, self.institutions)


def assess(predictions: Predictions, trial: Trial) -> list[Value]:
    """The value of each institution, in their order; zeros without intervals where no label can be measured.

    Raises ConfigError when the predictions are not of as many coalitions as the trial has.
    """
    design = trial.design()
    coalitions = design.coalitions
    if len(predictions.logits) != len(coalitions):
        raise ConfigError(
            f"The predictions are of {len(predictions.logits)} coalitions, the round has {len(coalitions)}."
        )
    measured = utilities(predictions, coalitions, trial.weights(predictions.truth))
    found, *resampled = [
        None if known is None else values(one, known)
        for one, known in zip([design, *trial.redrawn()], measured, strict=True)
    ]
    if found is None:
        return [Value(0, None, None)] * trial.institutions
    bounds = _intervals(resampled) or [(None, None)] * trial.institutions
    return [Value(_micro(value), *own) for value, own in zip(found, bounds, strict=True)]


def values(design: Design, known: Utilities) -> list[Fraction]:
    """The institutions' values, exact."""
    scale = design.denominator * known.denominator
    return [
        Fraction(sum(times * known.numerators[coalition] for coalition, times in own.items()), scale)
        for own in design.coefficients
    ]


def _intervals(resampled: Sequence[list[Fraction] | None]) -> list[tuple[int | None, int | None]]:
    """By institution; empty where a resample measured nothing, or there is none."""
    drawn = [found for found in resampled if found is not None]
    if len(drawn) < len(resampled):
        return []
    beyond = len(drawn) * _TAIL_PERMILLE // 1000
    ranked = [sorted(own) for own in zip(*drawn, strict=True)]
    return [(_micro(own[beyond]), _micro(own[-1 - beyond])) for own in ranked]


def _micro(value: Fraction) -> int:
    return floor(value * MICRO)
