"""The accountant against an independent program, and the properties that the budget relies on."""

import math

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import pld_privacy_accountant
from hypothesis import given, settings
from hypothesis import strategies as st

from fedchest.accounting.prv import Charge, epsilon, micro, noise_multiplier_for
from fedchest.errors import BudgetError, ConfigError


def independent_epsilon(history: list[Charge], delta: float) -> float:
    accountant = pld_privacy_accountant.PLDAccountant()
    for charge in history:
        step = dp_event.PoissonSampledDpEvent(
            charge.sampling_rate, dp_event.GaussianDpEvent(charge.noise_multiplier)
        )
        accountant.compose(dp_event.SelfComposedDpEvent(step, charge.steps))
    return accountant.get_epsilon(delta)


@pytest.mark.parametrize(
    "history",
    [
        [Charge(1.0, 0.02, 500)],
        [Charge(0.9, 0.25, 20)],
        [Charge(2.0, 1.0, 4)],
        [Charge(0.9, 0.25, 4), Charge(1.4, 0.1, 30), Charge(0.9, 0.25, 4)],
    ],
)
def test_agrees_with_dp_accounting(history: list[Charge]) -> None:
    ours, theirs = epsilon(history, 1e-5), independent_epsilon(history, 1e-5)
    assert theirs - 1e-3 <= ours <= theirs + 0.03


def test_nothing_charged_is_nothing_spent() -> None:
    assert epsilon([], 1e-5) == 0
    assert epsilon([Charge(1.0, 0.1, 0)], 1e-5) == 0


def test_rounds_charged_one_by_one_cost_what_they_cost_together() -> None:
    assert epsilon([Charge(1.0, 0.1, 5)] * 4, 1e-5) == epsilon([Charge(1.0, 0.1, 20)], 1e-5)


def test_another_charge_never_lowers_epsilon() -> None:
    first = [Charge(1.5, 0.2, 10)]
    assert epsilon([*first, Charge(8.0, 0.05, 1)], 1e-5) >= epsilon(first, 1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_delta_outside_its_range_is_refused(delta: float) -> None:
    with pytest.raises(ConfigError, match="delta"):
        epsilon([Charge(1.0, 0.1, 1)], delta)


@pytest.mark.parametrize(("target", "rate", "steps"), [(8.0, 0.25, 20), (1.0, 0.05, 100), (3.0, 1.0, 2)])
def test_the_noise_found_meets_the_target_closely(target: float, rate: float, steps: int) -> None:
    noise = noise_multiplier_for(target, 1e-4, rate, steps)
    assert epsilon([Charge(noise, rate, steps)], 1e-4) <= target
    assert epsilon([Charge(noise * 0.99, rate, steps)], 1e-4) > target


def test_an_unreachable_target_is_refused() -> None:
    with pytest.raises(BudgetError, match="epsilon 1e-05"):
        noise_multiplier_for(1e-5, 1e-6, 1.0, 1000)


@given(st.floats(0, 1e4))
@settings(deadline=None)
def test_micro_units_round_up(value: float) -> None:
    assert value <= micro(value) / 1e6 * (1 + 1e-15) + 1e-15
    assert micro(value) - 1 < value * 1e6
