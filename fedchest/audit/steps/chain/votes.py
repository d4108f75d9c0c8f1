"""The step on the votes: who attested what, and what it decided, counted again from the events."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

from fedchest.aggregation.fingerprint import NOTHING, combined
from fedchest.audit.case import Case
from fedchest.audit.report import Fault, readable
from fedchest.audit.rules import quorum_of
from fedchest.ledger.records import REQUIRED_CHECKS, Event, Phase, RoundState, VoidCause


def attestations(case: Case) -> str:
    """Votes come from members' own wallets, once each, mean what they say, and decide rounds by the contract's rule."""
    votes = sum(case.each(case.rounds, partial(_votes, case)))
    return f"{votes} attestations decide {len(case.rounds)} rounds"


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
    _members_vouch_once(case, state)
    _the_rule_decides(case, state, cast)
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
        wallet = case.wallet_at(institution, vote)
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


def _members_vouch_once(case: Case, state: RoundState) -> None:
    members, seen = case.members(state.number), set()

    def check(answer: Event) -> None:
        voucher = answer.values["voucher"]
        if voucher not in members or (answer.institution, voucher) in seen:
            raise Fault(
                "is answered for by no member, or twice by one",
                expected=f"one answer of each of {members}",
                found=f"an answer of {voucher}",
                round=state.number,
                institution=answer.institution,
            )
        seen.add((answer.institution, voucher))
        wallet = case.wallet_at(int(str(voucher)), answer)
        if answer.sender != wallet:
            raise Fault(
                "is answered for from another wallet than the voucher's",
                expected=wallet,
                found=answer.sender,
                round=state.number,
                institution=answer.institution,
            )

    case.each(case.events_of("AnsweredFor", state.number), check)


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
        shares = _answers(state, counted, case.events_of("AnsweredFor", state.number))
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


def _answers(state: RoundState, votes: list[Event], vouched: list[Event]) -> dict[int | None, Any]:
    """The share that counts for each institution: its own, or one that a quorum vouched for before."""
    shares: dict[int | None, Any] = {}
    backing: Counter[tuple[int | None, Any]] = Counter()
    for event in sorted(votes + vouched, key=lambda event: (event.block, event.index)):
        share = event.values["share"]
        backing[event.institution, share] += event.name == "AnsweredFor"
        if event.name == "Attested" or backing[event.institution, share] >= state.quorum:
            shares.setdefault(event.institution, share)
    return shares


def _the_rule_decides(case: Case, state: RoundState, votes: list[Event]) -> None:
    ends = case.events_of("RoundFinalized", state.number) + case.events_of("RoundVoided", state.number)
    end = ends[0] if ends else None
    tally = _Tally.of(case, state, votes, end)
    _same_count(tally, state)
    cause = None if end is None else end.values.get("cause")
    decided = cause if cause in (VoidCause.REJECTED, VoidCause.DISPUTED) else state.phase
    due = tally.outcome(state)
    # By identity: an enum's member equals another enum's of the same number.
    waiting = state.phase.takes_updates or state.phase is Phase.VOID
    if due is not decided and not (due is Phase.PROPOSED and waiting):
        raise Fault(
            f"is {state.phase.name} with {tally.agreeing} of {state.quorum} votes, {tally.disagreeing} against and "
            f"{tally.unanswered} unanswered: it should be {due.name}",
            expected=due,
            found=decided,
            round=state.number,
        )


def _same_count(tally: _Tally, state: RoundState) -> None:
    if (tally.agreeing, tally.disagreeing) != (state.agreeing, state.disagreeing):
        raise Fault(
            "the contract's count is not that of the attestations",
            expected=f"{tally.agreeing} for and {tally.disagreeing} against",
            found=f"{state.agreeing} for and {state.disagreeing} against",
            round=state.number,
        )
    if (tally.unanswered, tally.gathered) != (state.unanswered, state.gathered):
        raise Fault(
            "the contract's sum of fingerprints is not that of the answers",
            expected=f"{readable(tally.gathered)}, {tally.unanswered} unanswered",
            found=f"{readable(state.gathered)}, {state.unanswered} unanswered",
            round=state.number,
        )
