"""Values against textbook formulae in floating point, and against what Shapley's axioms say."""

from collections.abc import Mapping
from fractions import Fraction
from hashlib import shake_256
from itertools import permutations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedchest.contribution import draws
from fedchest.contribution.assessment import Trial, values
from fedchest.contribution.design import Method, Scoring, leave_one_out, shapley, shapley_over
from fedchest.contribution.utility import Utilities

SEED = b"s" * 32


@st.composite
def games(draw: st.DrawFn) -> tuple[int, Utilities]:
    """A number of players and any utility of each coalition of them."""
    players = draw(st.integers(1, 5))
    worth = st.integers(0, 10**6)
    count = 1 << players
    numerators = draw(st.lists(worth, min_size=count, max_size=count))
    return players, Utilities(dict(enumerate(numerators)), draw(st.integers(1, 10**6)))


def worth(known: Utilities, players: set[int]) -> float:
    return known.numerators[sum(1 << player for player in players)] / known.denominator


def textbook_shapley(players: int, known: Utilities) -> list[float]:
    """The mean over all orders of what each adds when it comes, as Shapley defined it, in floats."""
    totals, orders = [0.0] * players, list(permutations(range(players)))
    for order in orders:
        for place, player in enumerate(order):
            before = set(order[:place])
            totals[player] += worth(known, before | {player}) - worth(known, before)
    return [total / len(orders) for total in totals]


@given(games())
def test_shapley_is_the_textbooks(game):
    players, known = game
    found = values(shapley(players), known)
    assert [float(value) for value in found] == pytest.approx(textbook_shapley(players, known), abs=1e-6)


@given(games())
def test_leave_one_out_is_what_is_lost(game):
    players, known = game
    everyone = set(range(players))
    expected = [worth(known, everyone) - worth(known, everyone - {player}) for player in range(players)]
    found = values(leave_one_out(players), known)
    assert [float(value) for value in found] == pytest.approx(expected, abs=1e-6)


@given(games())
def test_all_orders_together_give_the_exact_values(game):
    players, known = game
    orders = np.array(list(permutations(range(players))))
    assert values(shapley_over(orders), known) == values(shapley(players), known)


@given(games(), st.integers(1, 12))
def test_what_is_shared_out_is_what_all_add_exactly(game, count):
    """Efficiency, of exact values and of any drawn orders."""
    players, known = game
    gain = Fraction(known.numerators[(1 << players) - 1] - known.numerators[0], known.denominator)
    orders = draws.permutations(SEED, count, players)
    for design in (shapley(players), shapley_over(orders)):
        assert sum(values(design, known)) == gain


@given(st.integers(2, 5), st.lists(st.integers(0, 1000), min_size=24, max_size=24))
def test_who_adds_the_same_gets_the_same_and_who_adds_nothing_nothing(players, numbers):
    """Symmetry of players 0 and 1; one more player who adds nothing to any coalition."""
    numerators: Mapping[int, int] = {
        coalition: numbers[(coalition & 3).bit_count() + 3 * (coalition >> 2 & ((1 << players) - 1) >> 2)]
        for coalition in range(1 << (players + 1))
    }
    idle = 1 << players
    known = Utilities({c: numerators[c & ~idle] for c in numerators}, 7)
    found = values(shapley(players + 1), known)
    assert found[0] == found[1]
    assert found[players] == 0


@given(st.integers(1, 40), st.integers(1, 200))
def test_no_more_coalitions_are_tried_than_drawn_orders_need(players, count):
    scoring = Scoring(Method.SHAPLEY, permutations=count, resamples=0)
    trial = Trial(scoring, players, SEED)
    if scoring.is_exact(players):
        assert len(trial.design().coalitions) == 2**players <= count * (players - 1) + 2
    else:
        assert len(trial.design().coalitions) <= count * (players - 1) + 2 < 2**players


def test_drawn_orders_are_permutations_and_each_is_as_likely():
    drawn = draws.permutations(SEED, 6000, 3)
    counts = dict.fromkeys(permutations(range(3)), 0)
    for order in drawn.tolist():
        counts[tuple(order)] += 1
    assert all(850 < count < 1150 for count in counts.values())  # 1,000 expected, 29 standard deviation
    assert (draws.permutations(SEED, 6000, 3) == drawn).all()
    assert (draws.permutations(b"t" * 32, 6000, 3) != drawn).any()


def test_a_resample_is_as_large_as_what_it_is_drawn_from():
    counts = draws.resamples(SEED, b"patients", 50, 20)
    assert counts.shape == (50, 20) and (counts.sum(axis=1) == 20).all()
    assert (counts.sum(axis=0) > 20).all()  # 50 expected of each
    assert (draws.resamples(SEED, b"orders", 50, 20) != counts).any()


def numbers(purpose: bytes, count: int) -> list[int]:
    """The stream that docs/rewards.md describes, without NumPy."""
    stream = shake_256(SEED + purpose).digest(8 * count)
    return [int.from_bytes(stream[8 * place :][:8], "little") for place in range(count)]


def test_what_is_drawn_is_what_is_written_down():
    """Whoever repeats an old round must draw what was drawn then, with any version of any library."""
    keys = numbers(b"permutations", 15)
    by_hand = [sorted(range(5), key=lambda i: keys[5 * row + i]) for row in range(3)]
    assert draws.permutations(SEED, 3, 5).tolist() == by_hand
    drawn = [number % 7 for number in numbers(b"patients", 7)]
    assert draws.resamples(SEED, b"patients", 1, 7).tolist() == [[drawn.count(i) for i in range(7)]]


@pytest.mark.parametrize("players", range(1, 6))
def test_the_coefficients_are_the_share_of_orders(players):
    design = shapley(players)
    for coalition, times in design.coefficients[0].items():
        size = coalition.bit_count() - (coalition & 1)
        share = Fraction(1, players * comb(players - 1, size))
        assert Fraction(times, design.denominator) == (share if coalition & 1 else -share)
