"""The cumulative epsilon of Poisson-subsampled Gaussian steps, by composing their privacy loss variables.

Gopi, Lee and Wutschitz 2021 ("Numerical composition of differential privacy"), as implemented by Opacus; the
figure is the upper bound of its error interval. It agrees with Google's accountant, an independent program, in
`tests/accounting/test_prv.py::test_agrees_with_dp_accounting`.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from opacus.accountants import IAccountant, PRVAccountant, RDPAccountant

from fedchest.errors import BudgetError, ConfigError

MICRO = 1_000_000

_FINELY_COMPOSED = 50.0
_LARGEST_NOISE = 1_000.0
_PRECISION = 1.002


@dataclass(frozen=True, order=True)
class Charge:
    """`steps` private steps of one study: noise deviation over clipping norm, and the patients' sampling rate."""

    noise_multiplier: float
    sampling_rate: float
    steps: int


def epsilon(history: Sequence[Charge], delta: float) -> float:
    """The least epsilon, to within 0.01 and never below, for which `history` is (epsilon, delta)-DP.

    The unit is one patient added or removed. Above about 50, where it protects nobody and the exact composition
    would take hours, it is the coarser upper bound of Renyi composition (Mironov 2017). Raises ConfigError when
    delta is not in (0, 1).
    """
    if not 0 < delta < 1:
        raise ConfigError(f"delta {delta} is not between 0 and 1.")
    return _composed(_merged(history), delta)


@lru_cache(maxsize=64)
def _composed(charges: tuple[Charge, ...], delta: float) -> float:
    if not charges:
        return 0.0
    history = [(charge.noise_multiplier, charge.sampling_rate, charge.steps) for charge in charges]
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        # Opacus warns of a coarse grid of Renyi orders, and takes a logarithm of zero whose result it discards.
        warnings.simplefilter("ignore", UserWarning)
        coarse = _with(RDPAccountant(), history, delta)
        return coarse if coarse > _FINELY_COMPOSED else _with(PRVAccountant(), history, delta)


def _with(accountant: IAccountant, history: list[tuple[float, float, int]], delta: float) -> float:
    accountant.history = history
    return float(accountant.get_epsilon(delta))


def noise_multiplier_for(target: float, delta: float, sampling_rate: float, steps: int) -> float:
    """The least noise multiplier, to within 0.2 %, that keeps `steps` steps at epsilon `target` or below.

    `steps` counts the whole study: rounds times the steps of a round. Raises BudgetError when no noise
    multiplier up to 1,000 does it.
    """

    def spends(noise_multiplier: float) -> float:
        return epsilon([Charge(noise_multiplier, sampling_rate, steps)], delta)

    high = 1.0
    while spends(high) > target:
        high *= 2
        if high > _LARGEST_NOISE:
            raise BudgetError(
                f"No noise keeps {steps} steps at sampling rate {sampling_rate} within epsilon {target}."
            )
    low = high / 2
    while spends(low) <= target:
        low, high = low / 2, low
    while high / low > _PRECISION:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if spends(middle) <= target else (middle, high)
    return high


def micro(value: float) -> int:
    """Epsilon in integer micro-units, rounded up: what goes on chain is never less than what was spent.

    Raises BudgetError for an infinite epsilon.
    """
    if not math.isfinite(value):
        raise BudgetError("The steps' noise is too small to state any epsilon for them.")
    return math.ceil(value * MICRO)


def _merged(history: Sequence[Charge]) -> tuple[Charge, ...]:
    """One charge for each (noise, rate), in a fixed order: the order of steps does not change their composition."""
    steps: dict[tuple[float, float], int] = {}
    for charge in history:
        key = (charge.noise_multiplier, charge.sampling_rate)
        steps[key] = steps.get(key, 0) + charge.steps
    return tuple(sorted(Charge(*key, steps=total) for key, total in steps.items() if total))
