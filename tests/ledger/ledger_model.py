"""The contract's rules in Python: what each action changes, which events it causes, by which error it is refused.

Written from docs/ledger.md and not from the Solidity; test_ledger_model.py runs both on the same random sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.ledger.records import REQUIRED_CHECKS, Phase, Rules, VoidCause

ROUND_CREDITS = 1_000_000
NO_HASH = bytes(32)
NO_ONE = "0x" + 40 * "0"
_COMMITTED_TYPES = [
    "bytes32",
    "uint256",
    "address",
    "uint256",
    "address",
    *4 * ["bytes32"],
    "uint16",
    "uint64",
]

Emitted = tuple[str, dict[str, Any]]


class ModelRefusal(Exception):
    """An action is refused with the contract's error `name`, which carries `values` in their order."""

    def __init__(self, name: str, *values: Any) -> None:
        super().__init__(name, *values)
        self.name = name
        self.values = values


@dataclass(frozen=True)
class Block:
    """Where an action runs: the block's number and time, and the hash of the block before it."""

    number: int
    timestamp: int
    parent: bytes


@dataclass
class ModelInstitution:
    wallet: str
    weight_class: int
    epsilon_budget: int
    epsilon_spent: int = 0
    credits: int = 0


@dataclass
class ModelRound:
    members: tuple[int, ...]
    quorum: int
    deadline: int
    opened_block: int
    base_model: bytes
    config: bytes
    phase: Phase = Phase.OPEN
    agreeing: int = 0
    disagreeing: int = 0
    new_model: bytes = NO_HASH
    record: bytes = NO_HASH
    commitments: dict[int, bytes] = field(default_factory=dict)
    accepted: tuple[int, ...] = ()
    attested: set[int] = field(default_factory=set)


class LedgerModel:
    """One study's ledger. Actions return the events they cause, or raise ModelRefusal and change nothing."""

    def __init__(self, rules: Rules, coordinator: str, initial_model: bytes) -> None:
        _require(
            rules.submission_seconds and rules.attestation_seconds and rules.minimum_accepted, "InvalidRules"
        )
        _require(rules.cohort_size == 0 or rules.cohort_size >= rules.minimum_accepted, "InvalidRules")
        _require(initial_model != NO_HASH, "EmptyModel")
        self.rules = rules
        self.coordinator = coordinator
        self.global_model = initial_model
        self.institutions: list[ModelInstitution] = []
        self.rounds: list[ModelRound] = []

    def register(self, sender: str, wallet: str, weight_class: int, epsilon_budget: int) -> list[Emitted]:
        self._require_coordinator(sender)
        self._require_no_live_round()
        _require(wallet not in (NO_ONE, self.coordinator), "InvalidWallet", wallet)
        taken = [id for id, institution in enumerate(self.institutions) if institution.wallet == wallet]
        _require(not taken, "WalletTaken", wallet, *taken)
        _require(weight_class > 0, "InvalidWeightClass")
        self.institutions.append(ModelInstitution(wallet, weight_class, epsilon_budget))
        registered = {
            "institution": len(self.institutions) - 1,
            "wallet": wallet,
            "weight_class": weight_class,
            "epsilon_budget": epsilon_budget,
        }
        return [("InstitutionRegistered", registered)]

    def open_round(self, sender: str, config: bytes, block: Block) -> list[Emitted]:
        self._require_coordinator(sender)
        self._require_no_live_round()
        drawn, registered = self.rules.cohort_size, len(self.institutions)
        needed = drawn or self.rules.minimum_accepted
        _require(registered >= needed, "TooFewInstitutions", registered, needed)
        number = len(self.rounds) + 1
        members = draw(block.parent, number, registered, drawn) if drawn else tuple(range(registered))
        n = len(members)
        opened = ModelRound(
            members=members,
            quorum=n // 2 + 1 if self.rules.crash_only else 2 * n // 3 + 1,
            deadline=block.timestamp + self.rules.submission_seconds,
            opened_block=block.number,
            base_model=self.global_model,
            config=config,
        )
        self.rounds.append(opened)
        event = {
            "round": number,
            "base_model": opened.base_model,
            "config": config,
            "members": members,
            "quorum": opened.quorum,
            "deadline": opened.deadline,
        }
        return [("RoundOpened", event)]

    def submit(
        self,
        sender: str,
        number: int,
        base_model: bytes,
        hashes: tuple[bytes, bytes, bytes],
        weight_class: int,
        epsilon: int,
        block: Block,
        place: tuple[int, str],
    ) -> list[Emitted]:
        """`hashes` are sealed, plaintext and manifest; `place` is the chain's id and the contract's address."""
        id = self._id_of(sender)
        round = self._round(number)
        _require(round is not None and round.phase is Phase.OPEN, "WrongPhase", number, self.phase(number))
        assert round is not None
        _require(block.timestamp <= round.deadline, "DeadlinePassed", round.deadline)
        _require(id in round.members, "NotMember", number, id)
        _require(id not in round.commitments, "AlreadySubmitted", number, id)
        _require(base_model == round.base_model, "WrongBaseModel", round.base_model)
        institution = self.institutions[id]
        _require(weight_class == institution.weight_class, "WrongWeightClass", institution.weight_class)
        _require(epsilon <= institution.epsilon_budget, "OverBudget", epsilon, institution.epsilon_budget)
        _require(epsilon >= institution.epsilon_spent, "SpendDecreased", epsilon, institution.epsilon_spent)
        domain = keccak(text="fedchest/commitment/v1")
        committed = (domain, *place, number, sender, base_model, *hashes, weight_class, epsilon)
        round.commitments[id] = keccak(encode(_COMMITTED_TYPES, committed))
        institution.epsilon_spent = epsilon
        event = {
            "round": number,
            "institution": id,
            "commitment": round.commitments[id],
            "sealed_hash": hashes[0],
            "plaintext_hash": hashes[1],
            "manifest_hash": hashes[2],
            "weight_class": weight_class,
            "epsilon": epsilon,
        }
        return [("UpdateSubmitted", event)]

    def propose(
        self,
        sender: str,
        number: int,
        new_model: bytes,
        accepted: Sequence[int],
        refusals: Sequence[tuple[int, int]],
        record: bytes,
        block: Block,
    ) -> list[Emitted]:
        self._require_coordinator(sender)
        round = self._open_round(number)
        _require(new_model != NO_HASH, "EmptyModel")
        minimum = self.rules.minimum_accepted
        _require(len(accepted) >= minimum, "TooFewAccepted", len(accepted), minimum)
        for position, id in enumerate(accepted):
            _require(position == 0 or id > accepted[position - 1], "NotIncreasing", id)
            _require(id in round.commitments, "NotSubmitted", number, id)
        events = self._refusals(number, refusals)
        for id, _reason in refusals:
            _require(id not in accepted, "AcceptedAndRefused", id)
        round.phase = Phase.PROPOSED
        round.deadline = block.timestamp + self.rules.attestation_seconds
        round.new_model, round.record, round.accepted = new_model, record, tuple(accepted)
        proposed = {
            "round": number,
            "new_model": new_model,
            "record": record,
            "accepted": round.accepted,
            "deadline": round.deadline,
        }
        return [*events, ("AggregateProposed", proposed)]

    def abandon(self, sender: str, number: int, refusals: Sequence[tuple[int, int]]) -> list[Emitted]:
        self._require_coordinator(sender)
        self._open_round(number)
        return [*self._refusals(number, refusals), self._void(number, VoidCause.ABANDONED)]

    def attest(self, sender: str, number: int, model: bytes, checks: int, block: Block) -> list[Emitted]:
        id = self._id_of(sender)
        round = self._round(number)
        votable = round is not None and (
            round.phase is Phase.PROPOSED or (number == len(self.rounds) and round.new_model != NO_HASH)
        )
        _require(votable, "WrongPhase", number, self.phase(number))
        assert round is not None
        counts = round.phase is Phase.PROPOSED
        _require(not counts or block.timestamp <= round.deadline, "DeadlinePassed", round.deadline)
        _require(id in round.members, "NotMember", number, id)
        _require(id not in round.attested, "AlreadyAttested", number, id)
        round.attested.add(id)
        agrees = model == round.new_model and checks == REQUIRED_CHECKS
        attested = {
            "round": number,
            "institution": id,
            "recomputed_model": model,
            "checks": checks,
            "agrees": agrees,
        }
        return [("Attested", attested), *(self._count(number, agrees) if counts else [])]

    def expire(self, number: int, block: Block) -> list[Emitted]:
        round = self._round(number)
        live = round is not None and round.phase in (Phase.OPEN, Phase.PROPOSED)
        _require(live, "WrongPhase", number, self.phase(number))
        assert round is not None
        _require(block.timestamp > round.deadline, "DeadlineNotReached", round.deadline)
        return [self._void(number, VoidCause.EXPIRED)]

    def phase(self, number: int) -> Phase:
        round = self._round(number)
        return Phase.NONE if round is None else round.phase

    def _round(self, number: int) -> ModelRound | None:
        return self.rounds[number - 1] if 1 <= number <= len(self.rounds) else None

    def _open_round(self, number: int) -> ModelRound:
        round = self._round(number)
        _require(round is not None and round.phase is Phase.OPEN, "WrongPhase", number, self.phase(number))
        assert round is not None
        return round

    def _id_of(self, wallet: str) -> int:
        ids = {institution.wallet: id for id, institution in enumerate(self.institutions)}
        _require(wallet in ids, "UnknownInstitution", wallet)
        return ids[wallet]

    def _require_coordinator(self, sender: str) -> None:
        _require(sender == self.coordinator, "NotCoordinator", sender)

    def _require_no_live_round(self) -> None:
        number = len(self.rounds)
        _require(self.phase(number) not in (Phase.OPEN, Phase.PROPOSED), "RoundLive", number)

    def _refusals(self, number: int, refusals: Sequence[tuple[int, int]]) -> list[Emitted]:
        events: list[Emitted] = []
        for position, (id, reason) in enumerate(refusals):
            _require(position == 0 or id > refusals[position - 1][0], "NotIncreasing", id)
            _require(id in self.rounds[number - 1].members, "NotMember", number, id)
            _require(reason > 0, "MissingReason", id)
            events.append(("UpdateRefused", {"round": number, "institution": id, "reason": reason}))
        return events

    def _count(self, number: int, agrees: bool) -> list[Emitted]:
        round = self.rounds[number - 1]
        if agrees:
            round.agreeing += 1
            return self._finalize(number) if round.agreeing >= round.quorum else []
        round.disagreeing += 1
        beaten = round.disagreeing > len(round.members) - round.quorum
        return [self._void(number, VoidCause.REJECTED)] if beaten else []

    def _finalize(self, number: int) -> list[Emitted]:
        round = self.rounds[number - 1]
        round.phase = Phase.FINALIZED
        self.global_model = round.new_model
        events: list[Emitted] = [("RoundFinalized", {"round": number, "new_model": round.new_model})]
        total = sum(self.institutions[id].weight_class for id in round.accepted)
        for id in round.accepted:
            amount = ROUND_CREDITS * self.institutions[id].weight_class // total
            self.institutions[id].credits += amount
            events.append(("Credited", {"round": number, "institution": id, "amount": amount}))
        return events

    def _void(self, number: int, cause: VoidCause) -> Emitted:
        self.rounds[number - 1].phase = Phase.VOID
        return ("RoundVoided", {"round": number, "cause": cause})


def draw(parent: bytes, number: int, registered: int, size: int) -> tuple[int, ...]:
    """Floyd's sample of `size` ids below `registered`, in the order drawn, from the parent block's hash."""
    seed = keccak(encode(["bytes32", "uint256"], [parent, number]))
    drawn: list[int] = []
    for position, last in enumerate(range(registered - size, registered)):
        number_drawn = int.from_bytes(keccak(encode(["bytes32", "uint16"], [seed, position])), "big")
        pick = number_drawn % (last + 1)
        drawn.append(last if pick in drawn else pick)
    return tuple(drawn)


def _require(condition: object, name: str, *values: Any) -> None:
    if not condition:
        raise ModelRefusal(name, *values)
