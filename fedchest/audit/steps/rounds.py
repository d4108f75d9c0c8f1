"""Steps on the rounds as a whole: lineage, votes and rewards, counted again from the events."""

from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.ledger.records import REQUIRED_CHECKS, Event, Phase, RoundState, Rules, VoidCause

ROUND_CREDITS = 1_000_000
"""Credits that a finalized round splits; equal to the contract's ROUND_CREDITS."""


def lineage(case: Case) -> str:
    """Each round runs under the study and starts from the last finalized model, the first from the initial one."""
    (created,) = case.events_of("StudyCreated")
    head = created.values["initial_model"]
    study = case.ledger.rules().study
    finalized = 0
    for state in case.rounds:
        if state.config != study:
            raise Fault("was opened under another configuration than the study", round=state.number)
        if state.base_model != head:
            raise Fault("does not start from the last finalized model", round=state.number)
        if state.phase is Phase.FINALIZED:
            head = state.new_model
            finalized += 1
    if case.ledger.global_model() != head:
        raise Fault("the contract's global model is not the last finalized one")
    return f"{len(case.rounds)} rounds, {finalized} of them finalized, each from the last finalized model"


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
    return f"{votes} attestations (partial: the sum is not among what they check) decide {len(case.rounds)} rounds"


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
        if vote.sender != case.institutions[institution].wallet:
            raise Fault("is attested for from another wallet", round=state.number, institution=institution)
        if vote.values["agrees"] != _agrees(vote, state):
            raise Fault(
                "its vote does not follow from its checks", round=state.number, institution=institution
            )
        seen.add(institution)


def _agrees(vote: Event, state: RoundState) -> bool:
    return vote.values["recomputed_model"] == state.new_model and vote.values["checks"] == REQUIRED_CHECKS


def _quorum_decides(case: Case, state: RoundState, votes: list[Event]) -> None:
    ends = case.events_of("RoundFinalized", state.number) + case.events_of("RoundVoided", state.number)
    end = ends[0] if ends else None
    counted = [vote for vote in votes if end is None or (vote.block, vote.index) < (end.block, end.index)]
    agreeing = sum(vote.values["agrees"] is True for vote in counted)
    if (agreeing, len(counted) - agreeing) != (state.agreeing, state.disagreeing):
        raise Fault("the contract's count is not that of the attestations", round=state.number)
    if (state.phase is Phase.FINALIZED) != (agreeing >= state.quorum):
        raise Fault(f"is {state.phase.name} with {agreeing} of {state.quorum} votes", round=state.number)
    rejected = end is not None and end.values.get("cause") is VoidCause.REJECTED
    if rejected != (len(counted) - agreeing > state.members - state.quorum):
        raise Fault(f"{len(counted) - agreeing} members disagreed", round=state.number)


def _credits_due(case: Case, state: RoundState) -> dict[int, int]:
    weights = {member: case.institutions[member].weight_class for member in case.accepted(state.number)}
    total = sum(weights.values())
    return {member: ROUND_CREDITS * weight // total for member, weight in weights.items()}
