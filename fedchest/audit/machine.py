"""The contract's state machine, replayed from its events alone: what each may follow, and what it changes.

Each event has one method, named after it, which checks what the contract requires of it and changes the state; whoever
adds an event to the contract adds its method. Events that others cause (a decision's effect, a round's outcome, its
credits) are foretold and must come next. The twin of contracts/src/FedChestLedger.sol; its base is registry.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from fedchest.aggregation.fingerprint import NOTHING, combined, is_canonical
from fedchest.audit.registry import ADMINISTRATOR, COORDINATOR, NO_HASH, NO_ONE, Registry
from fedchest.audit.rules import credits_due, drawn, quorum_of
from fedchest.ledger.hashes import passed_on, proposal_hash
from fedchest.ledger.records import (
    REQUIRED_CHECKS,
    Event,
    Institution,
    Phase,
    Proposal,
    RoundState,
    Rules,
    Status,
    VoidCause,
)
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext

_TAKES_UPDATES = tuple(phase for phase in Phase if phase.takes_updates)
_LIVE = tuple(phase for phase in Phase if phase.is_live)


@dataclass
class ReplayedRound:
    """A round as the events tell it: what the contract's view shows, and what it keeps beside."""

    state: RoundState
    members: tuple[int, ...]
    submitted: dict[int, bytes] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    accepted: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    owing: set[int] = field(default_factory=set)
    vouchers: dict[int, dict[int, bytes]] = field(default_factory=dict)
    attested: set[int] = field(default_factory=set)


class Machine(Registry):
    """One study's ledger at `contract` on chain `chain_id`, event by event.

    `parent_hash` gives the hash (32 bytes) of the block before the one of a number: cohorts are drawn from such.
    """

    def __init__(self, chain_id: int, contract: str, parent_hash: Callable[[int], bytes]) -> None:
        super().__init__(contract)
        self._chain_id = chain_id
        self._parent_hash = parent_hash
        self._foretell("RoleGranted", role=ADMINISTRATOR, account=contract)
        self._foretell("RoleGranted", role=COORDINATOR)
        self._foretell("StudyCreated")
        self.head = 0
        self._seed = NO_HASH
        self.successor = NO_ONE
        self.allowed: set[bytes] = set()
        self.rounds: dict[int, ReplayedRound] = {}
        self.equivocations: set[tuple[int, int]] = set()

    @property
    def global_model(self) -> bytes:
        """Hash of the model that the next round starts from."""
        return self.rounds[self.head].state.new_model if self.head else self.initial_model

    # The study.

    def _study_created(self, event: Event, coordinator: str, rules: Rules) -> None:
        self._require(event, not self._created, "one creation", "a second")
        cohort = rules.cohort_size == 0 or rules.cohort_size >= rules.minimum_accepted
        lasting = rules.submission_seconds and rules.attestation_seconds and rules.minimum_accepted
        self._require(
            event, bool(lasting and rules.founders) and cohort, "rules that the constructor takes", rules
        )
        self._by(event, coordinator)
        self._equal(event, "coordinator", self.coordinators, {coordinator})
        self._created = True
        self.rules = rules
        self.allowed = {rules.study}

    def _initial_model_approved(self, event: Event, model: bytes, provenance: bytes, roster: bytes) -> None:
        self._by_decision(event)
        self._require(event, self.initial_model == NO_HASH, "one founding", "a second")
        self._require(event, model != NO_HASH, "an initial model", "none")
        self._equal(event, "roster", self._roster, roster)
        self.initial_model, self._seed = model, self._parent_hash(event.block)

    def _model_restored(self, event: Event, model: bytes) -> None:
        self._by_decision(event)
        self._without_live_round(event)
        self._require(event, self.successor == NO_ONE, "a study that was not moved", self.successor)
        if event.round:
            self._round(event, Phase.FINALIZED)
        self.head = event.round or 0
        self._equal(event, "model", self.global_model, model)

    def _allowance_changed(self, event: Event, hash: bytes, allowed: bool) -> None:
        self._by_decision(event)
        (self.allowed.add if allowed else self.allowed.discard)(hash)

    def _study_moved(
        self, event: Event, successor: str, last_round: int, model: bytes, checkpoint: bytes
    ) -> None:
        self._by_decision(event)
        self._without_live_round(event)
        self._require(event, self.successor == NO_ONE, "a study that was not moved", self.successor)
        self._require(event, successor != NO_ONE, "a successor", "none")
        self._equal(event, "last round", len(self.rounds), last_round)
        self._equal(event, "model", self.global_model, model)
        self._equal(event, "checkpoint", self._parent_hash(event.block), checkpoint)
        self.successor = successor
        if not self.paused:
            self._foretell("Paused")

    def _paused(self, event: Event, account: str) -> None:
        super()._paused(event, account)
        self._halt(halted=True)

    def _unpaused(self, event: Event, account: str) -> None:
        self._require(event, self.successor == NO_ONE, "a study that was not moved", self.successor)
        super()._unpaused(event, account)
        self._halt(halted=False)

    def _halt(self, *, halted: bool) -> None:
        if self.rounds:
            self._change(self.rounds[len(self.rounds)], halted=halted)

    # Rounds.

    def _round_opened(
        self,
        event: Event,
        base_model: bytes,
        parent: int,
        config: bytes,
        members: tuple[int, ...],
        quorum: int,
        deadline: int,
    ) -> None:
        self._running(event)
        self._by_coordinator(event)
        self._without_live_round(event)
        self._require(event, self.initial_model != NO_HASH, "a founded study", "one that is not")
        self._require(event, config in self.allowed, "an allowed configuration", config)
        number = len(self.rounds) + 1
        for what, expected, found in (
            ("round", number, event.round),
            ("base model", self.global_model, base_model),
            ("parent", self.head, parent),
            ("members", self._members_due(event), members),
            ("quorum", quorum_of(len(members), self.rules), quorum),
            ("deadline", event.timestamp + self.rules.submission_seconds, deadline),
        ):
            self._equal(event, what, expected, found)
        state = RoundState(
            number=number,
            phase=Phase.OPEN,
            members=len(members),
            quorum=quorum,
            agreeing=0,
            disagreeing=0,
            deadline=deadline,
            opened_block=event.block,
            parent=parent,
            halted=False,
            base_model=base_model,
            config=config,
            new_model=NO_HASH,
            record=NO_HASH,
            sum_hash=NO_HASH,
            fingerprint=NOTHING,
            unanswered=0,
            gathered=NOTHING,
            proposal=NO_HASH,
            artifacts=NO_HASH,
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
        """Anyone may send it: the institution's signature is in the transaction, where the contract has checked it."""
        self._running(event)
        round = self._round(event, *_TAKES_UPDATES)
        member = self._member(event, round)
        self._with_status(event, Status.ACTIVE)
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
        committed = self._commitment(round, member, hashes, epsilon)
        self._equal(event, "commitment", committed, commitment)
        round.submitted[member.id] = commitment
        self._change(round, phase=Phase.SUBMITTING)
        self._update(member.id, epsilon_spent=epsilon)

    def _equivocation_proven(self, event: Event, commitment: bytes, other_commitment: bytes) -> None:
        """Anyone may prove it, at any time; the two signatures are in the transaction."""
        member, place = self._registered(event), (event.round or 0, event.institution or 0)
        self._member(event, self._round(event))
        self._require(event, place not in self.equivocations, "one proof", "a second")
        self._require(event, commitment != other_commitment, "two commitments", "the same twice")
        self.equivocations.add(place)
        self._update(member.id, strikes=member.strikes + 1)

    def _update_refused(self, event: Event, reason: int) -> None:
        self._running(event)
        self._by_coordinator(event)
        round = self._round(event, *_TAKES_UPDATES)
        member = self._member(event, round)
        self._require(event, member.id not in round.refused, "one refusal", "a second")
        self._require(event, reason > 0, "a reason", reason)
        round.refused.add(member.id)

    def _aggregate_proposed(
        self,
        event: Event,
        new_model: bytes,
        record: bytes,
        sum_hash: bytes,
        fingerprint: bytes,
        artifacts: bytes,
        accepted: tuple[int, ...],
        scores: tuple[int, ...],
        deadline: int,
    ) -> None:
        self._running(event)
        self._by_coordinator(event)
        round = self._round(event, Phase.SUBMITTING)
        self._require(event, new_model != NO_HASH, "a model", "none")
        self._canonical(event, fingerprint)
        self._accepted_may_be(event, round, accepted)
        scored = len(accepted) if self.rules.by_contribution else 0
        self._equal(event, "number of scores", scored, len(scores))
        self._equal(event, "deadline", event.timestamp + self.rules.attestation_seconds, deadline)
        round.accepted, round.owing, round.scores = accepted, set(accepted), scores
        proposal = Proposal(new_model, record, sum_hash, fingerprint, artifacts)
        self._change(
            round,
            phase=Phase.PROPOSED,
            deadline=deadline,
            new_model=new_model,
            record=record,
            sum_hash=sum_hash,
            fingerprint=fingerprint,
            unanswered=len(accepted),
            proposal=proposal_hash(proposal, accepted, scores),
            artifacts=artifacts,
        )

    def _attested(
        self,
        event: Event,
        recomputed_model: bytes,
        fingerprint: bytes,
        share: bytes,
        checks: int,
        agrees: bool,
    ) -> None:
        self._running(event)
        round = self._round(event)
        state = round.state
        counts = state.phase is Phase.PROPOSED
        late = state.number == len(self.rounds) and state.new_model != NO_HASH
        self._require(event, counts or late, "a proposal to vote on", state.phase)
        if counts:
            self._in_time(event, round)
        member = self._member(event, round)
        self._acting(event)
        self._require(event, member.id not in round.attested, "one vote", "a second")
        found = (recomputed_model, fingerprint, checks)
        self._equal(event, "vote", found == (state.new_model, state.fingerprint, REQUIRED_CHECKS), agrees)
        round.attested.add(member.id)
        if counts and member.id in round.owing:
            self._answer(event, round, member, share)
        if counts:
            side = "agreeing" if agrees else "disagreeing"
            self._change(round, **{side: getattr(state, side) + 1})
            self._settle(round)

    def _answered_for(self, event: Event, voucher: int, share: bytes) -> None:
        self._running(event)
        round = self._round(event, Phase.PROPOSED)
        self._in_time(event, round)
        silent = self._member(event, round)
        self._require(event, voucher in round.members, "a member that vouches", voucher)
        member = self.institutions[voucher]
        self._require(event, member.status is Status.ACTIVE, "an active voucher", member.status)
        self._by(event, member.wallet)
        self._require(event, silent.id in round.owing, "an answer that is owed", "none")
        vouched = round.vouchers.setdefault(silent.id, {})
        self._require(event, voucher not in vouched, "one answer of each", "a second")
        vouched[voucher] = share
        if list(vouched.values()).count(share) >= round.state.quorum:
            self._answer(event, round, silent, share)
            self._settle(round)

    def _round_finalized(self, event: Event, new_model: bytes) -> None:
        round = self._round(event, Phase.PROPOSED)
        state = round.state
        enough, answered = state.agreeing >= state.quorum, not round.owing
        self._require(event, enough, f"{state.quorum} votes", f"{state.agreeing} votes")
        self._require(event, answered, "every accepted one's answer", f"none of {sorted(round.owing)}")
        self._require(event, self._caused, "a vote that decides", "none")
        self._change(round, phase=Phase.FINALIZED)
        self.head, self._seed = state.number, self._parent_hash(event.block)

    def _credited(self, event: Event, amount: int) -> None:
        member = self._member(event, self._round(event, Phase.FINALIZED))
        self._require(event, self._caused, "credits for a round finalized now", f"{amount} credits")
        self._update(member.id, credits=member.credits + amount)

    def _round_voided(self, event: Event, cause: VoidCause) -> None:
        round = self._round(event, *_LIVE)
        state = round.state
        if cause is VoidCause.ABANDONED:
            self._running(event)
            self._by_coordinator(event)
            self._require(event, state.phase.takes_updates, "a round without a proposal", state.phase)
        elif cause is VoidCause.EXPIRED:
            past = event.timestamp > state.deadline
            self._require(event, past, f"a time after {state.deadline}", event.timestamp)
        else:
            due = "the quorum out of reach" if cause is VoidCause.REJECTED else "answers that don't add up"
            found = f"{state.disagreeing} votes against, {state.unanswered} unanswered"
            self._require(event, self._caused, due, found)
        self._change(round, phase=Phase.VOID)
        if cause is not VoidCause.ABANDONED:
            self._seed = passed_on(self._seed, state.number)

    # What several of them need.

    def _members_due(self, event: Event) -> tuple[int, ...]:
        size, active = self.rules.cohort_size, len(self.active)
        needed = size or self.rules.minimum_accepted
        self._require(event, active >= needed, f"{needed} active institutions", f"{active} of them")
        if size == 0:
            return tuple(self.active)
        return drawn(self._seed, self.active, size)

    def _accepted_may_be(self, event: Event, round: ReplayedRound, accepted: tuple[int, ...]) -> None:
        least = self.rules.minimum_accepted
        enough = len(accepted) >= least
        self._require(event, enough, f"at least {least} accepted", f"{len(accepted)} accepted")
        self._equal(event, "order of the accepted", tuple(sorted(set(accepted))), accepted)
        never = sorted(set(accepted) - round.submitted.keys())
        self._require(event, not never, "only updates that were submitted", f"accepted of {never} too")
        both = sorted(set(accepted) & round.refused)
        self._require(event, not both, "accepted or refused", f"both of {both}")

    def _answer(self, event: Event, round: ReplayedRound, member: Institution, share: bytes) -> None:
        self._canonical(event, share)
        round.owing.remove(member.id)
        gathered = combined(round.state.gathered, share, member.weight_class)
        self._change(round, unanswered=len(round.owing), gathered=gathered)

    def _settle(self, round: ReplayedRound) -> None:
        """Foretell what the votes and answers so far decide: rejection comes first, whatever the answers say."""
        state = round.state
        if state.disagreeing > state.members - state.quorum:
            self._foretell("RoundVoided", round=state.number, cause=VoidCause.REJECTED)
        elif not round.owing and state.gathered != state.fingerprint:
            self._foretell("RoundVoided", round=state.number, cause=VoidCause.DISPUTED)
        elif not round.owing and state.agreeing >= state.quorum:
            self._foretell("RoundFinalized", round=state.number, new_model=state.new_model)
            weights = {institution.id: institution.weight_class for institution in self.institutions}
            for member, amount in credits_due(round.accepted, weights, round.scores).items():
                self._foretell("Credited", round=state.number, institution=member, amount=amount)

    def _commitment(
        self, round: ReplayedRound, member: Institution, hashes: tuple[bytes, bytes, bytes], epsilon: int
    ) -> bytes:
        state = round.state
        context = UpdateContext(self._chain_id, self._contract, state.number, member.id, state.base_model)
        return commitment(context, *hashes, member.weight_class, epsilon)

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
        live = last is not None and last.state.phase.is_live
        self._require(event, not live, "no live round", f"round {len(self.rounds)}")

    def _canonical(self, event: Event, fingerprint: bytes) -> None:
        self._require(event, is_canonical(fingerprint), "a fingerprint in canonical form", fingerprint)

    def _change(self, round: ReplayedRound, **fields: Any) -> None:
        round.state = replace(round.state, **fields)
