"""Steps on the rounds as a whole: lineage, votes and rewards, counted again from the events."""

from dataclasses import dataclass
from typing import Any

from fedchest.aggregation.fingerprint import NOTHING, combined
from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.ledger.records import REQUIRED_CHECKS, Event, Phase, RoundState, Rules, VoidCause

ROUND_CREDITS = 1_000_000
"""Credits that a finalized round splits; equal to the contract's ROUND_CREDITS."""


def lineage(case: Case) -> str:
    """Each round runs under the study and starts from the last finalized or a restored model."""
    head, model, finalized = 0, bytes(32), {0: bytes(32)}
    rounds = {state.number: state for state in case.rounds}
    study = case.ledger.rules().study
    for event in case.events:
        if event.name == "InitialModelApproved":
            model = finalized[0] = case.ledger.initial_model()
        elif event.name == "ModelRestored" and event.round in finalized:
            head, model = event.round, finalized[event.round]
        elif event.name == "RoundFinalized" and event.round in rounds:
            head, model = event.round, rounds[event.round].new_model
            finalized[head] = model
        elif event.name == "RoundOpened" and event.round in rounds:
            _starts_from(rounds[event.round], study, head, model)
    for state in case.rounds:
        if (state.phase is Phase.FINALIZED) != (state.number in finalized):
            raise Fault("its phase and its events differ on whether it was finalized", round=state.number)
    if case.ledger.global_model() != model:
        raise Fault("the contract's global model is not the last finalized one")
    return f"{len(rounds)} rounds, {len(finalized) - 1} of them finalized, each from the last finalized model"


def _starts_from(state: RoundState, study: bytes, head: int, model: bytes) -> None:
    if state.config != study:
        raise Fault("was opened under another configuration than the study", round=state.number)
    if (state.parent, state.base_model) != (head, model):
        raise Fault("does not start from the last finalized model", round=state.number)


def attestations(case: Case) -> str:
    """Votes come from members' own wallets, once each, mean what they say, and decide rounds by the quorum only."""
    rules = case.ledger.rules()
    votes = 0
    for state in case.rounds:
        if state.quorum != _quorum(state.members, rules):
            raise Fault(f"the quorum is {state.quorum} of {state.members} members", round=state.number)
        cast = case.events_of("Attested", state.number)
        _each_votes_for_itself(case, state, cast)
        _quorum_decides(case, state, cast)
        votes += len(cast)
    return f"{votes} attestations decide {len(case.rounds)} rounds"


def credits(case: Case) -> str:
    """Each finalized round's credits are split among the accepted by weight class, and add up per institution."""
    totals = dict.fromkeys(case.institutions, 0)
    for state in case.rounds:
        paid = {
            event.institution: event.values["amount"] for event in case.events_of("Credited", state.number)
        }
        due = _credits_due(case, state) if state.phase is Phase.FINALIZED else {}
        if paid != due:
            raise Fault(f"credits are {paid}, by weight class they are {due}", round=state.number)
        for member, amount in due.items():
            totals[member] += amount
    for number, institution in case.institutions.items():
        if institution.credits != totals[number]:
            raise Fault(f"has {institution.credits} credits, was given {totals[number]}", institution=number)
    return f"{sum(totals.values())} credits by weight class to {len(totals)} institutions"


def _quorum(members: int, rules: Rules) -> int:
    return members // 2 + 1 if rules.crash_only else 2 * members // 3 + 1


def _each_votes_for_itself(case: Case, state: RoundState, votes: list[Event]) -> None:
    members = case.members(state.number)
    seen: set[int] = set()
    for vote in votes:
        institution = vote.institution
        if institution is None or institution not in members or institution in seen:
            raise Fault(
                "attests without being a member, or twice", round=state.number, institution=institution
            )
        if vote.sender != case.wallet_at(institution, vote):
            raise Fault("is attested for from another wallet", round=state.number, institution=institution)
        if vote.values["agrees"] != _agrees(vote, state):
            raise Fault(
                "its vote does not follow from its checks", round=state.number, institution=institution
            )
        seen.add(institution)


def _agrees(vote: Event, state: RoundState) -> bool:
    results = (vote.values["recomputed_model"], vote.values["fingerprint"], vote.values["checks"])
    return results == (state.new_model, state.fingerprint, REQUIRED_CHECKS)


@dataclass(frozen=True)
class _Tally:
    """A round's attestations until its end, counted again."""

    agreeing: int
    disagreeing: int
    unanswered: int
    gathered: bytes

    @classmethod
    def of(cls, case: Case, state: RoundState, votes: list[Event], end: Event | None) -> "_Tally":
        counted = [v for v in votes if end is None or (v.block, v.index) < (end.block, end.index)]
        agreeing = sum(vote.values["agrees"] is True for vote in counted)
        shares: dict[int | None, Any] = {vote.institution: vote.values["share"] for vote in counted}
        gathered, owing = NOTHING, 0
        for institution in case.accepted(state.number):
            if institution in shares:
                weight = case.institutions[institution].weight_class
                gathered = combined(gathered, shares[institution], weight)
            else:
                owing += 1
        return cls(agreeing, len(counted) - agreeing, owing, gathered)

    def outcome(self, state: RoundState) -> Phase | VoidCause:
        """What the contract's rule makes of it."""
        if self.disagreeing > state.members - state.quorum:
            return VoidCause.REJECTED
        if self.unanswered or state.phase.takes_updates:
            return Phase.PROPOSED
        if self.gathered != state.fingerprint:
            return VoidCause.DISPUTED
        return Phase.FINALIZED if self.agreeing >= state.quorum else Phase.PROPOSED


def _quorum_decides(case: Case, state: RoundState, votes: list[Event]) -> None:
    ends = case.events_of("RoundFinalized", state.number) + case.events_of("RoundVoided", state.number)
    end = ends[0] if ends else None
    tally = _Tally.of(case, state, votes, end)
    if (tally.agreeing, tally.disagreeing) != (state.agreeing, state.disagreeing):
        raise Fault("the contract's count is not that of the attestations", round=state.number)
    if (tally.unanswered, tally.gathered) != (state.unanswered, state.gathered):
        raise Fault("the contract's sum of fingerprints is not that of the answers", round=state.number)
    cause = None if end is None else end.values.get("cause")
    decided = cause if cause in (VoidCause.REJECTED, VoidCause.DISPUTED) else state.phase
    due = tally.outcome(state)
    # By identity: an enum's member equals another enum's of the same number.
    waiting = state.phase.takes_updates or state.phase is Phase.VOID
    if due is not decided and not (due is Phase.PROPOSED and waiting):
        raise Fault(
            f"is {state.phase.name} with {tally.agreeing} of {state.quorum} votes, {tally.disagreeing} against and "
            f"{tally.unanswered} unanswered: it should be {due.name}",
            round=state.number,
        )


def _credits_due(case: Case, state: RoundState) -> dict[int, int]:
    weights = {member: case.institutions[member].weight_class for member in case.accepted(state.number)}
    total = sum(weights.values())
    return {member: ROUND_CREDITS * weight // total for member, weight in weights.items()}
