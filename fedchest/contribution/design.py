"""Which coalitions are tried, and what an institution's value is made of: a weighted sum of their utilities.

With v(C) the utility of coalition C and N all n accepted institutions:

leave-one-out  value_i = v(N) - v(N without i)
Shapley        value_i = sum over C without i of |C|! (n - |C| - 1)! / n! * (v(C with i) - v(C))

(Shapley 1953). With many institutions Shapley's mean over all orders is taken over drawn ones: in each, i adds
v(those before it, and i) - v(those before it) (Castro et al. 2009; Ghorbani and Zou 2019, without truncation, so that
which coalitions are tried does not depend on what they give). docs/rewards.md says when.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import factorial

from pydantic import ConfigDict

from fedchest.contribution.draws import Integers

Coalition = int
"""Bit i stands for the i-th of the accepted institutions, in the order of their numbers."""

MOST_COALITIONS = 1 << 16


class Method(StrEnum):
    """How an institution's value follows from the coalitions' utilities."""

    SHAPLEY = "shapley"
    LEAVE_ONE_OUT = "leave-one-out"


@dataclass(frozen=True)
class Scoring:
    """A study's rule for scores: `permutations` are drawn where Shapley values are not exact.

    `resamples` are the draws that a value's interval rests on.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    method: Method
    permutations: int
    resamples: int

    def is_exact(self, institutions: int) -> bool:
        """Whether values rest on all the coalitions that they could: unless drawn orders need fewer."""
        return self.method is Method.LEAVE_ONE_OUT or 2**institutions <= self._of_orders(institutions)

    def models(self, institutions: int) -> int:
        """The most coalitions that a round may try."""
        return institutions + 1 if self.method is Method.LEAVE_ONE_OUT else self._of_orders(institutions)

    def _of_orders(self, institutions: int) -> int:
        return self.permutations * (institutions - 1) + 2


@dataclass(frozen=True)
class Design:
    """Values as sums: value_i = sum over C of coefficients[i][C] v(C) / denominator; what is not named is 0."""

    coefficients: Sequence[Mapping[Coalition, int]]
    denominator: int

    @property
    def coalitions(self) -> tuple[Coalition, ...]:
        """Those whose utility counts, in ascending order."""
        return tuple(sorted(set().union(*self.coefficients)))


def leave_one_out(institutions: int) -> Design:
    """What is lost without each."""
    everyone = (1 << institutions) - 1
    return Design([{everyone: 1, everyone ^ (1 << i): -1} for i in range(institutions)], 1)


def shapley(institutions: int) -> Design:
    """Shapley values over all coalitions."""
    n = institutions
    coefficients: list[dict[Coalition, int]] = [{} for _ in range(n)]
    for coalition in range(1 << n):
        size = coalition.bit_count()
        for i, own in enumerate(coefficients):
            if coalition >> i & 1:
                own[coalition] = factorial(size - 1) * factorial(n - size)
            else:
                own[coalition] = -factorial(size) * factorial(n - size - 1)
    return Design(coefficients, factorial(n))


def shapley_over(orders: Integers, times: Integers | None = None) -> Design:
    """Shapley values over the rows of `orders`, int64[m, n], each counted once or as often as `times`, int64[m]."""
    counts = [1] * len(orders) if times is None else times.tolist()
    coefficients: list[dict[Coalition, int]] = [{} for _ in range(orders.shape[1])]
    for order, count in zip(orders.tolist(), counts, strict=True):
        before: Coalition = 0
        for i in order:
            own, joined = coefficients[i], before | 1 << i
            own[joined] = own.get(joined, 0) + count
            own[before] = own.get(before, 0) - count
            before = joined
    return Design(coefficients, sum(counts))
