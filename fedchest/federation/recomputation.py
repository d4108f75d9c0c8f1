"""Recomputing a proposal from its base model and its sum: what the server proposes and every attestor repeats."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedchest.aggregation.fedavg import model_from_sum
from fedchest.aggregation.fingerprint import SumClaim, fingerprint
from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.aggregation.sums import mean_within_bound, parse_sum
from fedchest.ledger.ledger import Ledger
from fedchest.protection.codec import Codec, Layout


@dataclass(frozen=True)
class Recomputed:
    """What base model and sum give: hashes of 32 bytes, the sum's fingerprint of 24, the next model by name.

    `within_bound` says whether the sum's mean has at most the norm that one update may have.
    """

    base_model: bytes
    sum_hash: bytes
    fingerprint: bytes
    new_model: bytes
    within_bound: bool
    model: dict[str, NDArray[np.float32]]


def sum_claim(ledger: Ledger, round: int, accepted: Sequence[int], sum_hash: bytes) -> SumClaim:
    """What fixes the points at which the sum of the round's `accepted` updates is checked, from the chain.

    Raises LookupError for one that submitted nothing.
    """
    submissions = ledger.submissions(round)
    chosen = [submissions[institution] for institution in sorted(accepted)]
    return SumClaim(
        ledger.chain_id,
        ledger.address,
        ledger.rules().study,
        round,
        tuple(one.commitment for one in chosen),
        tuple(one.weight_class for one in chosen),
        sum_hash,
    )


def recompute(base: bytes, total: bytes, claim: SumClaim, layout: Layout, codec: Codec) -> Recomputed:
    """The proposal that the bytes of a base model and of a sum make.

    Raises StoreError, Refused(MALFORMED) and ConfigError when they are no model, no sum, or don't fit each other.
    """
    values = parse_sum(total, layout, codec)
    total_weight = sum(claim.weight_classes)
    model = model_from_sum(parse_model(base), values, total_weight, layout, codec)
    return Recomputed(
        base_model=hashlib.sha256(base).digest(),
        sum_hash=hashlib.sha256(total).digest(),
        fingerprint=fingerprint(values, claim.points()),
        new_model=hashlib.sha256(model_bytes(model)).digest(),
        within_bound=mean_within_bound(values, total_weight, codec),
        model=model,
    )
