"""What one member checks of a proposal; that the sum is the updates' the shares of all accepted show together."""

import hmac
from dataclasses import dataclass

from fedchest.aggregation.fingerprint import NOTHING, fingerprint
from fedchest.errors import ConfigError, StoreError
from fedchest.federation.layout import update_layout
from fedchest.federation.messages import OpenedMessage, ProposalMessage
from fedchest.federation.recomputation import Recomputed, recompute, sum_claim
from fedchest.federation.study import Study
from fedchest.ledger.artifact_tree import artifact_root, round_artifacts
from fedchest.ledger.hashes import proposal_hash
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.records import Attestation, Check, Phase, Proposal, RoundState
from fedchest.protection.codec import Codec
from fedchest.protection.manifest import Manifest
from fedchest.protection.sealing import plaintext_hash
from fedchest.refusals import Reason, Refused


@dataclass(frozen=True)
class OwnUpdate:
    """What an institution made for a round: the SHA-256 of the sealed update, and the encoded update itself."""

    sealed_hash: bytes
    encoded: bytes


def attest_to(
    ledger: Ledger,
    study: Study,
    state: RoundState,
    message: ProposalMessage,
    institution: str,
    own: OwnUpdate | None,
) -> tuple[Attestation, Recomputed | None]:
    """The attestation of `institution` to the round's proposal, and what its message gives.

    Bytes that give nothing are a vote against the proposal. The own update's fingerprint is answered in any case:
    its points follow from the chain alone, and without it the round could not be settled. Raises Refused(SITE_FAULT)
    when this institution is among the accepted and does not hold what it committed to: any share would be false,
    and silence is on record as what it is.
    """
    layout, codec = update_layout(study, ledger.finalized_before(state.number)), Codec(study.norm_bound)
    accepted = ledger.accepted(state.number)
    claim = sum_claim(ledger, state.number, accepted, state.sum_hash)
    share = NOTHING
    if ledger.institution_id(institution) in accepted:
        update = _committed_update(ledger, state, institution, own)
        share = fingerprint(codec.decode(update, layout).values, claim.points())
    proposed = proposal_hash(
        Proposal(state.new_model, state.record, state.sum_hash, state.fingerprint, state.artifacts),
        accepted,
        ledger.scores(state.number),
    )
    try:
        found = recompute(message.base, message.total, claim, layout, codec)
    except (Refused, StoreError, ConfigError):
        return Attestation(proposed, bytes(32), NOTHING, share, checks=0), None
    own_hash = None if own is None else own.sealed_hash
    checks = attestation_checks(ledger, state.number, found, institution, own_hash)
    return Attestation(proposed, found.new_model, found.fingerprint, share, checks), found


def opened_share(ledger: Ledger, study: Study, state: RoundState, opened: OpenedMessage) -> bytes:
    """The share (24 bytes) of a silent institution, from its opened update.

    Raises Refused: ROUND_CLOSED where none is missing, MANIFEST_MISMATCH where the institution did not consent in the
    manifest that it committed to, PLAINTEXT_MISMATCH for another update than it committed to.
    """
    submission = ledger.submission(state.number, opened.institution)
    if submission is None or not ledger.owes(state.number, opened.institution):
        raise Refused(Reason.ROUND_CLOSED)
    manifest = Manifest.from_bytes(opened.manifest)
    if not hmac.compare_digest(manifest.digest(), submission.manifest_hash) or not manifest.may_be_opened:
        raise Refused(Reason.MANIFEST_MISMATCH)
    hashed = plaintext_hash(opened.encoded, opened.salt)
    if not hmac.compare_digest(hashed, submission.plaintext_hash):
        raise Refused(Reason.PLAINTEXT_MISMATCH)
    layout, codec = update_layout(study, ledger.finalized_before(state.number)), Codec(study.norm_bound)
    claim = sum_claim(ledger, state.number, ledger.accepted(state.number), state.sum_hash)
    return fingerprint(codec.decode(opened.encoded, layout).values, claim.points())


def _committed_update(ledger: Ledger, state: RoundState, institution: str, own: OwnUpdate | None) -> bytes:
    committed = ledger.submission(state.number, ledger.institution_id(institution))
    if own is None or committed is None or not hmac.compare_digest(committed.sealed_hash, own.sealed_hash):
        raise Refused(Reason.SITE_FAULT)
    return own.encoded


def attestation_checks(
    ledger: Ledger,
    round_number: int,
    recomputed: Recomputed,
    institution: str,
    own_sealed_hash: bytes | None,
) -> int:
    """The bit mask of the checks that hold for the proposal of `round_number`, as `attest` takes it.

    `recomputed` is what base model and sum give, as received; `own_sealed_hash` is the SHA-256 of the sealed update
    which `institution` made for the round, or None when it made none. All seven bits set is agreement;
    tests/federation/test_attestation.py fails each in turn.
    """
    state = ledger.round(round_number)
    held = {
        Check.OWN_UPDATE: _own_update_stands(ledger, state, institution, own_sealed_hash),
        Check.BASE_MODEL: _continues_its_parent(ledger, state)
        and hmac.compare_digest(recomputed.base_model, state.base_model),
        Check.WEIGHT_CLASSES: _weights_are_registered(ledger, state),
        Check.NEW_MODEL: hmac.compare_digest(recomputed.new_model, state.new_model),
        Check.SUM: hmac.compare_digest(recomputed.sum_hash, state.sum_hash)
        and recomputed.fingerprint == state.fingerprint,
        Check.NORM: recomputed.within_bound,
        Check.ARTIFACTS: _root_is_of_the_artifacts(ledger, state),
    }
    return sum(bit for bit, holds in held.items() if holds)


def _own_update_stands(ledger: Ledger, state: RoundState, institution: str, own: bytes | None) -> bool:
    me = ledger.institution_id(institution)
    committed = ledger.submission(state.number, me)
    accepted = me in ledger.accepted(state.number)
    if committed is None:
        # Shut out by a proposal before the deadline, an update that was made is one that was left out.
        return not accepted and (own is None or ledger.was_proposed_late(state))
    return accepted and own is not None and hmac.compare_digest(committed.sealed_hash, own)


def _continues_its_parent(ledger: Ledger, state: RoundState) -> bool:
    if state.parent == 0:
        return hmac.compare_digest(ledger.initial_model(), state.base_model)
    parent = ledger.round(state.parent)
    return parent.phase is Phase.FINALIZED and hmac.compare_digest(parent.new_model, state.base_model)


def _root_is_of_the_artifacts(ledger: Ledger, state: RoundState) -> bool:
    submitted = ledger.submissions(state.number)
    accepted = {member: submitted[member] for member in ledger.accepted(state.number) if member in submitted}
    artifacts = round_artifacts(accepted, state.sum_hash, state.new_model, state.record)
    return hmac.compare_digest(artifact_root(artifacts), state.artifacts)


def _weights_are_registered(ledger: Ledger, state: RoundState) -> bool:
    submitted = ledger.submissions(state.number)
    return all(
        member in submitted and submitted[member].weight_class == ledger.institution(member).weight_class
        for member in ledger.accepted(state.number)
    )
