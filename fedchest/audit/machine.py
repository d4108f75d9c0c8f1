"""The contract's state machine, replayed from its events alone."""

from collections.abc import Mapping, Sequence

from fedchest.ledger.records import Rules

ROUND_CREDITS = 1_000_000
"""Credits that a finalized round splits; equal to the contract's ROUND_CREDITS."""


def quorum(members: int, rules: Rules) -> int:
    """How many of a round's members must agree."""
    return members // 2 + 1 if rules.crash_only else 2 * members // 3 + 1


def credits_due(accepted: Sequence[int], weights: Mapping[int, int]) -> dict[int, int]:
    """What a finalized round gives each accepted institution, by number."""
    total = sum(weights[member] for member in accepted)
    return {member: ROUND_CREDITS * weights[member] // total for member in accepted}
