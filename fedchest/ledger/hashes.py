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


def proposal_hash(proposal: Proposal, accepted: Sequence[int]) -> bytes:
    """What an attestation is to (32 bytes): all that was proposed, and the accepted institutions in order."""
    return keccak(
        encode(["(bytes32,bytes32,bytes32,bytes24)", "uint16[]"], [astuple(proposal), sorted(accepted)])
    )
