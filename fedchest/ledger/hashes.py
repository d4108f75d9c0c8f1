"""Hashes that the contract computes too, so that a party can say what it means without believing a node."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.ledger.records import Proposal


def roster_hash(founders: Iterable[tuple[str, int, int]]) -> bytes:
    """The contract's `roster` (32 bytes) after these registrations: address, weight class, epsilon budget each."""
    roster = bytes(32)
    for founder in founders:
        roster = keccak(encode(["bytes32", "address", "uint16", "uint64"], [roster, *founder]))
    return roster


def passed_on(seed: bytes, round: int) -> bytes:
    """What the next cohort is drawn from (32 bytes) after a round of that number came to nothing."""
    return keccak(encode(["bytes32", "uint256"], [seed, round]))


def proposal_hash(proposal: Proposal, accepted: Sequence[int], scores: Sequence[int] = ()) -> bytes:
    """What an attestation is to (32 bytes): all that was proposed, the accepted in order, and their scores if any."""
    types = ["(bytes32,bytes32,bytes32,bytes24,bytes32)", "uint16[]", "uint32[]"]
    return keccak(encode(types, [astuple(proposal), sorted(accepted), list(scores)]))
