"""The step on the votes: who attested what, and what it decided, counted again from the events."""

from functools import partial

from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.audit.rules import quorum_of
from fedchest.ledger.records import REQUIRED_CHECKS, Event, Phase, RoundState, VoidCause


def attestations(case: Case) -> str:
    """Votes come from members' own wallets, once each, mean what they say, and decide rounds by the quorum only."""
    votes = sum(case.each(case.rounds, partial(_votes, case)))
    return f"{votes} attestations (partial: the sum is not among what they check) decide {len(case.rounds)} rounds"


def _votes(case: Case, state: RoundState) -> int:
    """How many were cast in a round."""
    due = quorum_of(state.members, case.ledger.rules())
    if state.quorum != due:
        raise Fault(
            f"the quorum is {state.quorum} of {state.members} members",
            expected=due,
            found=state.quorum,
            round=state.number,
        )
    cast = case.events_of("Attested", state.number)
    _each_votes_for_itself(case, state, cast)
    _quorum_decides(case, state, cast)
    return len(cast)


def _each_votes_for_itself(case: Case, state: RoundState, votes: list[Event]) -> None:
    members = case.members(state.number)
    seen: set[int] = set()

    def check(vote: Event) -> None:
        institution = vote.institution
        if institution is None or institution not in members or institution in seen:
            raise Fault(
                "attests without being a member, or twice",
                expected=f"one vote of each of {members}",
                found=f"a vote of {institution}",
                round=state.number,
                institution=institution,
            )
        seen.add(institution)
        wallet = case.institutions[institution].wallet
        if vote.sender != wallet:
            raise Fault(
                "is attested for from another wallet",
                expected=wallet,
                found=vote.sender,
                round=state.number,
                institution=institution,
            )
        if vote.values["agrees"] != _agrees(vote, state):
            raise Fault(
                "its vote does not follow from its checks",
                expected=_agrees(vote, state),
                found=vote.values["agrees"],
                round=state.number,
                institution=institution,
            )

    case.each(votes, check)


def _agrees(vote: Event, state: RoundState) -> bool:
    return vote.values["recomputed_model"] == state.new_model and vote.values["checks"] == REQUIRED_CHECKS


def _quorum_decides(case: Case, state: RoundState, votes: list[Event]) -> None:
    ends = case.events_of("RoundFinalized", state.number) + case.events_of("RoundVoided", state.number)
    end = ends[0] if ends else None
    counted = [vote for vote in votes if end is None or (vote.block, vote.index) < (end.block, end.index)]
    agreeing = sum(vote.values["agrees"] is True for vote in counted)
    disagreeing = len(counted) - agreeing
    if (agreeing, disagreeing) != (state.agreeing, state.disagreeing):
        raise Fault(
            "the contract's count is not that of the attestations",
            expected=f"{agreeing} for and {disagreeing} against",
            found=f"{state.agreeing} for and {state.disagreeing} against",
            round=state.number,
        )
    if (state.phase is Phase.FINALIZED) != (agreeing >= state.quorum):
        raise Fault(
            f"is {state.phase.name} with {agreeing} of {state.quorum} votes",
            expected="finalized by the quorum, and by nothing else",
            found=state.phase,
            round=state.number,
        )
    rejected = end is not None and end.values.get("cause") is VoidCause.REJECTED
    if rejected != (disagreeing > state.members - state.quorum):
        raise Fault(
            f"{disagreeing} members disagreed",
            expected="void when the quorum is out of reach, and only then",
            found=state.phase,
            round=state.number,
        )
