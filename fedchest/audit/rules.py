"""The contract's arithmetic, computed again: who is drawn, how many must agree, what a round gives."""

from collections.abc import Mapping, Sequence

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.ledger.records import Rules

ROUND_CREDITS = 1_000_000
"""Credits that a finalized round splits; equal to the contract's ROUND_CREDITS."""


def quorum_of(members: int, rules: Rules) -> int:
    """How many of a round's members must agree."""
    return members // 2 + 1 if rules.crash_only else 2 * members // 3 + 1


def credits_due(accepted: Sequence[int], weights: Mapping[int, int], scores: Sequence[int]) -> dict[int, int]:
    """What a finalized round gives each accepted institution, by number: by score, unless there is none above 0."""
    parts = scores if any(scores) else [weights[member] for member in accepted]
    return {member: ROUND_CREDITS * part // sum(parts) for member, part in zip(accepted, parts, strict=True)}


def drawn(seed: bytes, active: Sequence[int], size: int) -> tuple[int, ...]:
    """The members that the contract draws: Floyd's sampling, in its order.

    `active` holds the active institutions in the contract's own order; `seed` is the hash of the block before the last
    finalization, or the founding, passed on by each round since then that came to nothing.
    """
    picks: list[int] = []
    for place in range(size):
        last = len(active) - size + place
        pick = active[int.from_bytes(keccak(encode(["bytes32", "uint16"], [seed, place]))) % (last + 1)]
        picks.append(active[last] if pick in picks else pick)
    return tuple(picks)
