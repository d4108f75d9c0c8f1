"""Attestations, answers for the silent, and what they decide."""

from fedchest.ledger.file.rules.fingerprints import added, require_canonical
from fedchest.ledger.file.rules.rounds import void
from fedchest.ledger.file.rules.state import (
    NO_HASH,
    Emitted,
    Moment,
    OpenedRound,
    State,
    active_id,
    require,
    require_round,
    require_running,
)
from fedchest.ledger.records import REQUIRED_CHECKS, Attestation, Phase, VoidCause

ROUND_CREDITS = 1_000_000


def attest(state: State, sender: str, number: int, result: Attestation, now: Moment) -> list[Emitted]:
    """By a member, once; after the round's outcome, while it is the last, a vote is recorded and decides nothing."""
    require_running(state)
    id = active_id(state, sender)
    round = state.round(number)
    counts = round is not None and round.phase is Phase.PROPOSED
    late = round is not None and number == len(state.rounds) and round.new_model != NO_HASH
    round = require_round(state, number, ready=counts or late)
    require(result.proposal == round.proposal, "WrongProposal", round.proposal)
    require(not counts or now.timestamp <= round.deadline, "DeadlinePassed", round.deadline)
    require(id in round.members, "NotMember", number, id)
    require(id not in round.attested, "AlreadyAttested", number, id)
    answers = counts and id in round.unanswered
    if answers:
        require_canonical(result.share)
        _answer(state, round, id, result.share)
    round.attested.add(id)
    found = (result.new_model, result.fingerprint, result.checks)
    agrees = found == (round.new_model, round.fingerprint, REQUIRED_CHECKS)
    attested = {
        "round": number,
        "institution": id,
        "recomputed_model": result.new_model,
        "fingerprint": result.fingerprint,
        "share": result.share,
        "checks": result.checks,
        "agrees": agrees,
    }
    if not counts:
        return [("Attested", attested)]
    round.agreeing += agrees
    round.disagreeing += not agrees
    return [("Attested", attested), *_settled(state, number, round, now)]


def answer_for(
    state: State, sender: str, number: int, id: int, proposal: bytes, share: bytes, now: Moment
) -> list[Emitted]:
    """By a member that opened the update of a silent one; a quorum that found the same share answers for it."""
    require_running(state)
    voucher = active_id(state, sender)
    round = require_round(state, number, ready=state.phase(number) is Phase.PROPOSED)
    require(proposal == round.proposal, "WrongProposal", round.proposal)
    require(now.timestamp <= round.deadline, "DeadlinePassed", round.deadline)
    require(voucher in round.members, "NotMember", number, voucher)
    require(id in round.unanswered, "NotOwed", number, id)
    vouched = round.vouched.get(id, {})
    require(voucher not in vouched, "AlreadyVouched", number, id, voucher)
    suffices = list(vouched.values()).count(share) + 1 >= round.quorum
    if suffices:
        require_canonical(share)
        _answer(state, round, id, share)
    round.vouched[id] = {**vouched, voucher: share}
    fields = {"round": number, "institution": id, "voucher": voucher, "share": share}
    return [("AnsweredFor", fields), *(_settled(state, number, round, now) if suffices else [])]


def _answer(state: State, round: OpenedRound, id: int, share: bytes) -> None:
    round.unanswered.discard(id)
    round.gathered = added(round.gathered, share, state.institutions[id].weight_class)


def _settled(state: State, number: int, round: OpenedRound, now: Moment) -> list[Emitted]:
    """The round's outcome, if this vote or answer brings it."""
    if round.disagreeing > len(round.members) - round.quorum:
        return [void(state, number, VoidCause.REJECTED)]
    if round.unanswered:
        return []
    if round.gathered != round.fingerprint:
        return [void(state, number, VoidCause.DISPUTED)]
    return _finalized(state, number, round, now) if round.agreeing >= round.quorum else []


def _finalized(state: State, number: int, round: OpenedRound, now: Moment) -> list[Emitted]:
    round.phase = Phase.FINALIZED
    state.head = number
    state.seed = now.parent
    events: list[Emitted] = [("RoundFinalized", {"round": number, "new_model": round.new_model})]
    weights = [state.institutions[id].weight_class for id in round.accepted]
    parts = round.scores if any(round.scores) else weights
    for id, part in zip(round.accepted, parts, strict=True):
        amount = ROUND_CREDITS * part // sum(parts)
        state.institutions[id].credits += amount
        events.append(("Credited", {"round": number, "institution": id, "amount": amount}))
    return events
