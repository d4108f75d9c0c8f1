"""A round's life but for its votes: opened, proposed, abandoned, expired."""

from collections.abc import Sequence

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.ledger.file.rules.fingerprints import require_canonical
from fedchest.ledger.file.rules.state import (
    NO_HASH,
    Emitted,
    Moment,
    OpenedRound,
    State,
    require,
    require_coordinator,
    require_no_live_round,
    require_round,
    require_running,
)
from fedchest.ledger.hashes import passed_on, proposal_hash
from fedchest.ledger.records import Phase, Proposal, VoidCause

Refused = Sequence[tuple[int, int]]
"""Institutions with the reasons why their updates are refused."""


def open_round(state: State, sender: str, config: bytes, now: Moment) -> list[Emitted]:
    """By the coordinator, under an allowed configuration."""
    require_running(state)
    require_coordinator(state, sender)
    require_no_live_round(state)
    require(state.initial_model != NO_HASH, "NotFounded")
    require(config in state.allowed, "NotAllowed", config)
    drawn, active = state.rules.cohort_size, len(state.active)
    needed = drawn or state.rules.minimum_accepted
    require(active >= needed, "TooFewInstitutions", active, needed)
    members = _drawn(state.seed, state.active, drawn) if drawn else tuple(state.active)
    opened = OpenedRound(
        members=members,
        quorum=state.quorum(len(members)),
        deadline=now.timestamp + state.rules.submission_seconds,
        opened_block=now.number,
        parent=state.head,
        base_model=state.global_model,
        config=config,
    )
    state.rounds.append(opened)
    names = ("base_model", "parent", "config", "members", "quorum", "deadline")
    event = {"round": len(state.rounds), **{name: getattr(opened, name) for name in names}}
    return [("RoundOpened", event)]


def propose(
    state: State,
    sender: str,
    number: int,
    proposal: Proposal,
    accepted: Sequence[int],
    scores: Sequence[int],
    refusals: Refused,
    now: Moment,
) -> list[Emitted]:
    """By the coordinator: the aggregate of the accepted, with their scores where credits go by them."""
    require_running(state)
    require_coordinator(state, sender)
    round = require_round(state, number, ready=state.phase(number) is Phase.SUBMITTING)
    require(proposal.new_model != NO_HASH, "EmptyModel")
    require_canonical(proposal.fingerprint)
    _check_accepted(state, number, round, accepted)
    due = len(accepted) if state.rules.by_contribution else 0
    require(len(scores) == due, "WrongScores", len(scores), due)
    events = _refusals(number, round, refusals)
    for id, _reason in refusals:
        require(id not in accepted, "AcceptedAndRefused", id)
    round.phase = Phase.PROPOSED
    round.deadline = now.timestamp + state.rules.attestation_seconds
    for name, value in vars(proposal).items():
        setattr(round, name, value)
    round.proposal = proposal_hash(proposal, accepted, scores)
    round.accepted, round.unanswered, round.scores = tuple(accepted), set(accepted), tuple(scores)
    proposed = {
        "round": number,
        **vars(proposal),
        "accepted": round.accepted,
        "scores": round.scores,
        "deadline": round.deadline,
    }
    return [*events, ("AggregateProposed", proposed)]


def abandon(state: State, sender: str, number: int, refusals: Refused) -> list[Emitted]:
    """By the coordinator, while updates are taken."""
    require_running(state)
    require_coordinator(state, sender)
    round = require_round(state, number, ready=state.phase(number).takes_updates)
    events = _refusals(number, round, refusals)
    return [*events, void(state, number, VoidCause.ABANDONED)]


def expire(state: State, number: int, now: Moment) -> list[Emitted]:
    """By anyone, once the deadline has passed."""
    round = require_round(state, number, ready=state.phase(number).is_live)
    require(now.timestamp > round.deadline, "DeadlineNotReached", round.deadline)
    return [void(state, number, VoidCause.EXPIRED)]


def void(state: State, number: int, cause: VoidCause) -> Emitted:
    """Bring a round to nothing.

    The next cohort follows from this one's seed, and after an abandoned round is the same: whoever ends a round must
    not choose by it whom the next one draws.
    """
    state.rounds[number - 1].phase = Phase.VOID
    if cause is not VoidCause.ABANDONED:
        state.seed = passed_on(state.seed, number)
    return ("RoundVoided", {"round": number, "cause": cause})


def _check_accepted(state: State, number: int, round: OpenedRound, accepted: Sequence[int]) -> None:
    minimum = state.rules.minimum_accepted
    require(len(accepted) >= minimum, "TooFewAccepted", len(accepted), minimum)
    for position, id in enumerate(accepted):
        require(position == 0 or id > accepted[position - 1], "NotIncreasing", id)
        require(id in round.commitments, "NotSubmitted", number, id)


def _refusals(number: int, round: OpenedRound, refusals: Refused) -> list[Emitted]:
    events: list[Emitted] = []
    for position, (id, reason) in enumerate(refusals):
        require(position == 0 or id > refusals[position - 1][0], "NotIncreasing", id)
        require(id in round.members, "NotMember", number, id)
        require(reason > 0, "MissingReason", id)
        events.append(("UpdateRefused", {"round": number, "institution": id, "reason": reason}))
    return events


def _drawn(seed: bytes, active: Sequence[int], size: int) -> tuple[int, ...]:
    """Floyd's sample of `size` of the active, in the order drawn."""
    drawn: list[int] = []
    for position, last in enumerate(range(len(active) - size, len(active))):
        number = int.from_bytes(keccak(encode(["bytes32", "uint16"], [seed, position])))
        pick = active[number % (last + 1)]
        drawn.append(active[last] if pick in drawn else pick)
    return tuple(drawn)
