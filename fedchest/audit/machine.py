"""The contract's state machine, replayed from its events alone: what each may follow, and what it changes.

Each event has one method, named after it, which checks what the contract requires of it and changes the state; whoever
adds an event to the contract adds its method. Events that others cause (a quorum's outcome, its credits) are foretold
and must come next.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fedchest.audit.report import Fault
from fedchest.audit.rules import credits_due, drawn, quorum_of
from fedchest.audit.trail import event_line
from fedchest.ledger.events import snake_case
from fedchest.ledger.records import (
    REQUIRED_CHECKS,
    Event,
    Institution,
    Phase,
    RoundState,
    Rules,
    VoidCause,
)
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext

NO_HASH = bytes(32)
_LIVE = (Phase.OPEN, Phase.PROPOSED)


@dataclass
class ReplayedRound:
    """A round as the events tell it: what the contract's view shows, and what it keeps beside."""

    state: RoundState
    members: tuple[int, ...]
    submitted: dict[int, bytes] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    accepted: tuple[int, ...] = ()
    attested: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Foretold:
    """An event that must come next."""

    name: str
    round: int
    institution: int | None
    values: Mapping[str, object]


class Machine:
    """One study's ledger at `contract` on chain `chain_id`, event by event.

    `parent_hash` gives the hash (32 bytes) of the block before the one of a number: cohorts are drawn from it.
    """

    def __init__(self, chain_id: int, contract: str, parent_hash: Callable[[int], bytes]) -> None:
        self._chain_id = chain_id
        self._contract = contract
        self._parent_hash = parent_hash
        self._foretold: deque[_Foretold] = deque()
        self._created = False
        self.coordinator = ""
        self.rules = Rules(NO_HASH, 0, 0, 0, 0, False)
        self.global_model = NO_HASH
        self.institutions: list[Institution] = []
        self.rounds: dict[int, ReplayedRound] = {}

    def replay(self, events: Iterable[Event]) -> None:
        """Take in every event. Raises Fault at the first that the contract could not have emitted there."""
        last: Event | None = None
        for last in events:
            self.apply(last)
        if self._foretold:
            raise self._fault(last, "the events end", _line(self._foretold[0]), "nothing")

    def apply(self, event: Event) -> None:
        """Take in the next event. Raises Fault when the contract could not have emitted it there."""
        method = getattr(self, snake_case(event.name), None)
        if method is None:
            raise self._fault(event, "is no event that the state machine knows", "a known event", event.name)
        self._require(
            event, self._created or event.name == "StudyCreated", "the study was created", event.name
        )
        if self._foretold:
            self._require_foretold(event, self._foretold.popleft())
        method(event, **event.values)

    # The study.

    def _study_created(
        self, event: Event, coordinator: str, rules: Rules, initial_model: bytes, provenance: bytes
    ) -> None:
        cohort = rules.cohort_size == 0 or rules.cohort_size >= rules.minimum_accepted
        lasting = rules.submission_seconds and rules.attestation_seconds and rules.minimum_accepted
        self._require(event, not self._created, "one creation", "a second")
        self._require(event, bool(lasting) and cohort, "rules that the constructor takes", rules)
        self._require(event, initial_model != NO_HASH, "an initial model", "none")
        self._created = True
        self.coordinator, self.rules, self.global_model = coordinator, rules, initial_model
        self._by_coordinator(event)

    def _institution_registered(
        self, event: Event, wallet: str, weight_class: int, epsilon_budget: int
    ) -> None:
        self._by_coordinator(event)
        self._without_live_round(event)
        number = len(self.institutions)
        self._equal(event, "institution", number, event.institution)
        taken = {self.coordinator, *(institution.wallet for institution in self.institutions)}
        self._require(event, wallet not in taken, "a wallet of its own", wallet)
        self._require(event, weight_class > 0, "a weight class above 0", weight_class)
        self.institutions.append(Institution(number, wallet, weight_class, epsilon_budget, 0, 0))

    # Rounds.

    def _round_opened(
        self,
        event: Event,
        base_model: bytes,
        config: bytes,
        members: tuple[int, ...],
        quorum: int,
        deadline: int,
    ) -> None:
        self._by_coordinator(event)
        self._without_live_round(event)
        number, registered = len(self.rounds) + 1, len(self.institutions)
        size = self.rules.cohort_size
        self._require(
            event,
            registered >= (size or self.rules.minimum_accepted),
            "institutions enough",
            f"{registered} institutions",
        )
        due = drawn(self._parent_hash(event.block), number, registered, size) if size else range(registered)
        self._equal(event, "round", number, event.round)
        self._equal(event, "base model", self.global_model, base_model)
        self._equal(event, "members", tuple(due), members)
        self._equal(event, "quorum", quorum_of(len(members), self.rules), quorum)
        self._equal(event, "deadline", event.timestamp + self.rules.submission_seconds, deadline)
        state = RoundState(
            number,
            Phase.OPEN,
            len(members),
            quorum,
            0,
            0,
            deadline,
            event.block,
            base_model,
            config,
            NO_HASH,
            NO_HASH,
        )
        self.rounds[number] = ReplayedRound(state, members)

    def _update_submitted(
        self,
        event: Event,
        commitment: bytes,
        sealed_hash: bytes,
        plaintext_hash: bytes,
        manifest_hash: bytes,
        weight_class: int,
        epsilon: int,
    ) -> None:
        round = self._round(event, Phase.OPEN)
        member = self._member(event, round)
        self._by(event, member.wallet)
        self._in_time(event, round)
        self._require(event, member.id not in round.submitted, "one submission", "a second")
        self._equal(event, "weight class", member.weight_class, weight_class)
        self._require(
            event,
            member.epsilon_spent <= epsilon <= member.epsilon_budget,
            f"epsilon from {member.epsilon_spent} to {member.epsilon_budget}",
            epsilon,
        )
        hashes = (sealed_hash, plaintext_hash, manifest_hash)
        committed = self._commitment(round, member, hashes, weight_class, epsilon)
        self._equal(event, "commitment", committed, commitment)
        round.submitted[member.id] = commitment
        self.institutions[member.id] = replace(member, epsilon_spent=epsilon)

    def _update_refused(self, event: Event, reason: int) -> None:
        self._by_coordinator(event)
        round = self._round(event, Phase.OPEN)
        member = self._member(event, round)
        self._require(event, member.id not in round.refused, "one refusal", "a second")
        self._require(event, reason > 0, "a reason", reason)
        round.refused.add(member.id)

    def _aggregate_proposed(
        self, event: Event, new_model: bytes, record: bytes, accepted: tuple[int, ...], deadline: int
    ) -> None:
        self._by_coordinator(event)
        round = self._round(event, Phase.OPEN)
        least = self.rules.minimum_accepted
        self._require(event, new_model != NO_HASH, "a model", "none")
        self._require(
            event, len(accepted) >= least, f"at least {least} accepted", f"{len(accepted)} accepted"
        )
        self._equal(event, "order of the accepted", tuple(sorted(set(accepted))), accepted)
        never = sorted(set(accepted) - round.submitted.keys())
        self._require(event, not never, "only updates that were submitted", f"accepted of {never} too")
        both = sorted(set(accepted) & round.refused)
        self._require(event, not both, "accepted or refused", f"both of {both}")
        self._equal(event, "deadline", event.timestamp + self.rules.attestation_seconds, deadline)
        round.accepted = accepted
        self._change(round, phase=Phase.PROPOSED, deadline=deadline, new_model=new_model, record=record)

    def _attested(self, event: Event, recomputed_model: bytes, checks: int, agrees: bool) -> None:
        round = self._round(event)
        state = round.state
        counts = state.phase is Phase.PROPOSED
        late = state.number == len(self.rounds) and state.new_model != NO_HASH
        self._require(event, counts or late, "a proposal to vote on", state.phase)
        if counts:
            self._in_time(event, round)
        member = self._member(event, round)
        self._by(event, member.wallet)
        self._require(event, member.id not in round.attested, "one vote", "a second")
        own = recomputed_model == state.new_model and checks == REQUIRED_CHECKS
        self._equal(event, "vote", own, agrees)
        round.attested.add(member.id)
        if counts:
            self._count(round, agrees)

    def _round_finalized(self, event: Event, new_model: bytes) -> None:
        round = self._round(event, Phase.PROPOSED)
        decided = round.state.agreeing == round.state.quorum
        self._require(event, decided, f"{round.state.quorum} votes", f"{round.state.agreeing} votes")
        self._change(round, phase=Phase.FINALIZED)
        self.global_model = new_model

    def _credited(self, event: Event, amount: int) -> None:
        member = self._member(event, self._round(event, Phase.FINALIZED))
        due = credits_due(self._round(event).accepted, self._weights()).get(member.id)
        self._equal(event, "credits", due, amount)
        self.institutions[member.id] = replace(member, credits=member.credits + amount)

    def _round_voided(self, event: Event, cause: VoidCause) -> None:
        round = self._round(event, *_LIVE)
        state = round.state
        if cause is VoidCause.ABANDONED:
            self._by_coordinator(event)
            self._require(event, state.phase is Phase.OPEN, "an open round", state.phase)
        elif cause is VoidCause.EXPIRED:
            past = event.timestamp > state.deadline
            self._require(event, past, f"a time after {state.deadline}", event.timestamp)
        else:
            lost = state.disagreeing > state.members - state.quorum
            self._require(event, lost, "the quorum out of reach", f"{state.disagreeing} votes against")
        self._change(round, phase=Phase.VOID)

    # What several of them need.

    def _count(self, round: ReplayedRound, agrees: bool) -> None:
        side = "agreeing" if agrees else "disagreeing"
        self._change(round, **{side: getattr(round.state, side) + 1})
        state = round.state
        if agrees and state.agreeing == state.quorum:
            self._foretell("RoundFinalized", state.number, None, new_model=state.new_model)
            for member, amount in credits_due(round.accepted, self._weights()).items():
                self._foretell("Credited", state.number, member, amount=amount)
        elif not agrees and state.disagreeing > state.members - state.quorum:
            self._foretell("RoundVoided", state.number, None, cause=VoidCause.REJECTED)

    def _foretell(self, name: str, round: int, institution: int | None, **values: object) -> None:
        self._foretold.append(_Foretold(name, round, institution, values))

    def _require_foretold(self, event: Event, due: _Foretold) -> None:
        found = _Foretold(event.name, event.round or 0, event.institution, event.values)
        if found != due:
            raise self._fault(
                event, "is not what follows from the event before", _line(due), event_line(event)
            )

    def _commitment(
        self,
        round: ReplayedRound,
        member: Institution,
        hashes: tuple[bytes, bytes, bytes],
        weight_class: int,
        epsilon: int,
    ) -> bytes:
        state = round.state
        context = UpdateContext(self._chain_id, self._contract, state.number, member.wallet, state.base_model)
        return commitment(context, *hashes, weight_class, epsilon)

    def _weights(self) -> dict[int, int]:
        return {institution.id: institution.weight_class for institution in self.institutions}

    def _round(self, event: Event, *phases: Phase) -> ReplayedRound:
        round = self.rounds.get(event.round or 0)
        if round is None:
            raise self._fault(event, "is of a round that was not opened", "an open round", event.round)
        names = " or ".join(phase.name for phase in phases)
        self._require(event, not phases or round.state.phase in phases, f"phase {names}", round.state.phase)
        return round

    def _member(self, event: Event, round: ReplayedRound) -> Institution:
        number = event.institution
        if number is None or number not in round.members:
            raise self._fault(event, "is of no member of the round", f"one of {round.members}", number)
        return self.institutions[number]

    def _in_time(self, event: Event, round: ReplayedRound) -> None:
        deadline = round.state.deadline
        self._require(event, event.timestamp <= deadline, f"a time up to {deadline}", event.timestamp)

    def _without_live_round(self, event: Event) -> None:
        last = self.rounds.get(len(self.rounds))
        live = last is not None and last.state.phase in _LIVE
        self._require(event, not live, "no live round", f"round {len(self.rounds)}")

    def _by_coordinator(self, event: Event) -> None:
        self._by(event, self.coordinator)

    def _by(self, event: Event, wallet: str) -> None:
        self._require(event, event.sender == wallet, f"wallet {wallet}", event.sender)

    def _change(self, round: ReplayedRound, **fields: Any) -> None:
        round.state = replace(round.state, **fields)

    def _equal(self, event: Event, what: str, expected: object, found: object) -> None:
        if expected != found:
            raise self._fault(event, f"has another {what} than follows", expected, found)

    def _require(self, event: Event, holds: bool, expected: object, found: object) -> None:
        if not holds:
            raise self._fault(event, "can't have come there", expected, found)

    def _fault(self, event: Event | None, what: str, expected: object, found: object) -> Fault:
        place = "" if event is None else f"{event.name} in block {event.block}"
        return Fault(
            f"{place} {what}".strip(),
            expected=expected,
            found=found,
            round=None if event is None else event.round,
            institution=None if event is None else event.institution,
        )


def _line(due: _Foretold) -> str:
    owner = "" if due.institution is None else f" of institution {due.institution}"
    return f"{due.name}{owner} of round {due.round}"
