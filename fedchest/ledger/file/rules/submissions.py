"""Updates: what an institution commits to, itself or through another, and the proof that it committed to two."""

from dataclasses import astuple

from fedchest.ledger.contract import named_refusal
from fedchest.ledger.file.rules.state import (
    Emitted,
    Moment,
    State,
    active_id,
    known_id,
    require,
    require_round,
)
from fedchest.ledger.records import Phase, UpdateCommitment
from fedchest.ledger.wallet import recover_digest_signer
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext

_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def submit_for(state: State, update: UpdateCommitment, signature: bytes, now: Moment) -> list[Emitted]:
    """For the institution that signed it."""
    return submit(state, recovered(digest_of(state, update), signature), update, now)


def submit(state: State, signer: str, update: UpdateCommitment, now: Moment) -> list[Emitted]:
    """By `signer`: who sends it, or has signed it for another to send."""
    id = active_id(state, signer)
    require(update.institution == id, "WrongSigner", signer, update.institution)
    number = update.round
    require(not state.halted(number), "EnforcedPause")
    round = require_round(state, number, ready=state.phase(number).takes_updates)
    require(now.timestamp <= round.deadline, "DeadlinePassed", round.deadline)
    require(id in round.members, "NotMember", number, id)
    require(id not in round.commitments, "AlreadySubmitted", number, id)
    require(update.base_model == round.base_model, "WrongBaseModel", round.base_model)
    _spend(state, id, update)
    round.commitments[id] = digest_of(state, update)
    round.phase = Phase.SUBMITTING
    event = {
        "round": number,
        "institution": id,
        "commitment": round.commitments[id],
        "sealed_hash": update.sealed_hash,
        "plaintext_hash": update.plaintext_hash,
        "manifest_hash": update.manifest_hash,
        "weight_class": update.weight_class,
        "epsilon": update.epsilon,
    }
    return [("UpdateSubmitted", event)]


def report(
    state: State, one: UpdateCommitment, signature: bytes, other: UpdateCommitment, other_signature: bytes
) -> list[Emitted]:
    """That one institution committed to two updates of a round; what is on the ledger needs no signature."""
    number, id = one.round, one.institution
    digests = digest_of(state, one), digest_of(state, other)
    same_place = (other.round, other.institution) == (number, id)
    require(digests[0] != digests[1] and same_place, "NoEquivocation")
    round = state.round(number)
    if round is None or id not in round.members:
        raise named_refusal("NotMember", number, id)
    require((number, id) not in state.equivocated, "AlreadyProven", number, id)
    for digest, signed in zip(digests, (signature, other_signature), strict=True):
        if round.commitments.get(id) != digest:
            _require_author(state, one, recovered(digest, signed))
    state.equivocated.add((number, id))
    state.institutions[id].strikes += 1
    commitments = {"commitment": digests[0], "other_commitment": digests[1]}
    return [("EquivocationProven", {"round": number, "institution": id, **commitments})]


def digest_of(state: State, update: UpdateCommitment) -> bytes:
    """The commitment (32 bytes) that the update is to this ledger."""
    round, institution, base_model, *submitted = astuple(update)
    return commitment(UpdateContext(*state.place, round, institution, base_model), *submitted)


def recovered(digest: bytes, signature: bytes) -> str:
    """Who signed the digest. Raises LedgerRefusal for what is no signature, and for the second form of one."""
    require(len(signature) == 65, "ECDSAInvalidSignatureLength", len(signature))
    s = signature[32:64]
    require(int.from_bytes(s) <= _CURVE_ORDER // 2, "ECDSAInvalidSignatureS", s)
    signer = recover_digest_signer(digest, signature)
    if signer is None:
        raise named_refusal("ECDSAInvalidSignature")
    return signer


def _spend(state: State, id: int, update: UpdateCommitment) -> None:
    institution, epsilon = state.institutions[id], update.epsilon
    registered = institution.weight_class
    require(update.weight_class == registered, "WrongWeightClass", registered)
    require(epsilon <= institution.epsilon_budget, "OverBudget", epsilon, institution.epsilon_budget)
    require(epsilon >= institution.epsilon_spent, "SpendDecreased", epsilon, institution.epsilon_spent)
    institution.epsilon_spent = epsilon


def _require_author(state: State, update: UpdateCommitment, signer: str) -> None:
    id = update.institution
    current = state.institutions[id].wallet == signer
    of_the_round = current or update.round <= state.last_round_of.get(signer, 0)
    require(known_id(state, signer) == id and of_the_round, "WrongSigner", signer, id)
