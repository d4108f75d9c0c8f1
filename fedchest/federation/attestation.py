"""What a *partial* attestation checks: everything about a proposal but the sum itself."""

import hmac

from fedchest.ledger.client import LedgerClient
from fedchest.ledger.records import Check, Phase, RoundState


def attestation_checks(
    ledger: LedgerClient,
    round_number: int,
    recomputed: bytes,
    institution: str,
    own_sealed_hash: bytes | None,
) -> int:
    """The bit mask of the checks that hold for the proposal of `round_number`, as `attest` takes it.

    `recomputed` is the SHA-256 of the proposed model's bytes as received, `own_sealed_hash` that of the sealed
    update which `institution` made for the round, or None when it made none. All four bits set is agreement;
    tests/federation/test_attestation.py fails each in turn.
    """
    state = ledger.round(round_number)
    held = {
        Check.OWN_UPDATE: _own_update_stands(ledger, state, institution, own_sealed_hash),
        Check.BASE_MODEL: _continues_last_finalized(ledger, state),
        Check.WEIGHT_CLASSES: _weights_are_registered(ledger, state),
        Check.NEW_MODEL: hmac.compare_digest(recomputed, state.new_model),
    }
    return sum(bit for bit, holds in held.items() if holds)


def _own_update_stands(ledger: LedgerClient, state: RoundState, institution: str, own: bytes | None) -> bool:
    me = ledger.institution_id(institution)
    committed = ledger.submission(state.number, me)
    accepted = me in ledger.accepted(state.number)
    if committed is None:
        return not accepted
    return accepted and own is not None and hmac.compare_digest(committed.sealed_hash, own)


def _continues_last_finalized(ledger: LedgerClient, state: RoundState) -> bool:
    for number in range(state.number - 1, 0, -1):
        earlier = ledger.round(number)
        if earlier.phase is Phase.FINALIZED:
            return hmac.compare_digest(earlier.new_model, state.base_model)
    return hmac.compare_digest(ledger.round(1).base_model, state.base_model)


def _weights_are_registered(ledger: LedgerClient, state: RoundState) -> bool:
    submitted = ledger.submissions(state.number)
    return all(
        member in submitted and submitted[member].weight_class == ledger.institution(member).weight_class
        for member in ledger.accepted(state.number)
    )
