"""The contract's rules in Python: what each action changes, which events it causes, by which error it is refused.

Written from docs/ledger.md and not from the Solidity; test_ledger_model.py runs both on the same random sequences.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.ledger.records import (
    REQUIRED_CHECKS,
    Attestation,
    Phase,
    Proposal,
    Rules,
    Status,
    UpdateCommitment,
    VoidCause,
)

ROUND_CREDITS = 1_000_000
MOST_WEIGHT = 2**29
NO_HASH = bytes(32)
NO_ONE = "0x" + 40 * "0"
ADMINISTRATOR, COORDINATOR = NO_HASH, keccak(text="fedchest/coordinator")

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
    strikes: int = 0
    status: Status = Status.ACTIVE
    epsilon_spent: int = 0
    credits: int = 0


@dataclass
class ModelRound:
    members: tuple[int, ...]
    quorum: int
    deadline: int
    opened_block: int
    parent: int
    base_model: bytes
    config: bytes
    phase: Phase = Phase.OPEN
    agreeing: int = 0
    disagreeing: int = 0
    new_model: bytes = NO_HASH
    record: bytes = NO_HASH
    sum_hash: bytes = NO_HASH
    artifacts: bytes = NO_HASH
    fingerprint: bytes = bytes(24)
    gathered: bytes = bytes(24)
    proposal: bytes = NO_HASH
    unanswered: set[int] = field(default_factory=set)
    commitments: dict[int, bytes] = field(default_factory=dict)
    accepted: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    vouched: dict[int, dict[int, bytes]] = field(default_factory=dict)
    attested: set[int] = field(default_factory=set)


class LedgerModel:
    """One study's ledger. Actions return the events they cause, or raise ModelRefusal and change nothing."""

    def __init__(self, rules: Rules, coordinator: str, place: tuple[int, str]) -> None:
        """`place` is the chain's id and the contract's address."""
        _require(
            rules.submission_seconds and rules.attestation_seconds and rules.minimum_accepted, "InvalidRules"
        )
        _require(rules.founders, "InvalidRules")
        _require(rules.cohort_size == 0 or rules.cohort_size >= rules.minimum_accepted, "InvalidRules")
        self.rules = rules
        self.place = place
        self.coordinators = {coordinator}
        self.initial_model = NO_HASH
        self.head = 0
        self.successor = NO_ONE
        self.paused = False
        self.allowed = {rules.study}
        self.roster = NO_HASH
        self.seed = NO_HASH
        self.last_round_of: dict[str, int] = {}
        self.institutions: list[ModelInstitution] = []
        self.wallets: dict[str, int] = {}
        self.active: list[int] = []
        self.rounds: list[ModelRound] = []
        self.supporters: dict[tuple[str, Any, int], list[int]] = {}
        self.taken: dict[tuple[str, Any], int] = {}
        self.equivocated: set[tuple[int, int]] = set()

    @property
    def global_model(self) -> bytes:
        return self.rounds[self.head - 1].new_model if self.head else self.initial_model

    # The registry.

    def register_founder(self, sender: str, wallet: str, weight_class: int, budget: int) -> list[Emitted]:
        self._require_coordinator(sender)
        unlisted = len(self.institutions) < self.rules.founders
        _require(self.initial_model == NO_HASH and unlisted, "AlreadyFounded")
        return self._register(wallet, weight_class, budget)

    def rotate_own_key(self, sender: str, wallet: str) -> list[Emitted]:
        return self._rotate(self._active_id(sender), wallet)

    def _register(self, wallet: str, weight_class: int, budget: int) -> list[Emitted]:
        self._require_free(wallet)
        _require(weight_class > 0, "InvalidWeightClass")
        _require(budget <= self.rules.epsilon_budget, "BudgetTooLarge", budget, self.rules.epsilon_budget)
        total = sum(one.weight_class for one in self.institutions) + weight_class
        _require(total <= MOST_WEIGHT, "TooHeavy", total, MOST_WEIGHT)
        id = len(self.institutions)
        self.institutions.append(ModelInstitution(wallet, weight_class, budget))
        self.active.append(id)
        self.wallets[wallet] = id
        entry = (self.roster, wallet, weight_class, budget)
        self.roster = keccak(encode(["bytes32", "address", "uint16", "uint64"], entry))
        registered = {
            "institution": id,
            "wallet": wallet,
            "weight_class": weight_class,
            "epsilon_budget": budget,
        }
        return [("InstitutionRegistered", registered)]

    def _rotate(self, id: int, wallet: str) -> list[Emitted]:
        self._require_free(wallet)
        old, self.institutions[id].wallet = self.institutions[id].wallet, wallet
        self.last_round_of[old] = len(self.rounds)
        self.wallets[wallet] = id
        return [("KeyRotated", {"institution": id, "old_wallet": old, "new_wallet": wallet})]

    def _require_free(self, wallet: str) -> None:
        _require(wallet != NO_ONE and wallet not in self.coordinators, "InvalidWallet", wallet)
        _require(wallet not in self.wallets, "WalletTaken", wallet, self.wallets.get(wallet))

    # Decisions.

    def support(self, sender: str, action: tuple[str, Any], encoded: bytes, block: Block) -> list[Emitted]:
        """`action` is a function's name and its arguments, `encoded` the same as the contract takes it."""
        id = self._active_id(sender)
        if self.initial_model == NO_HASH:
            listed = len(self.institutions) == self.rules.founders
            _require(listed and action[0] == "approveInitialModel", "NotFounded")
        decision, supporters = self._decision(action, encoded)
        _require(id not in supporters, "AlreadySupported", decision, id)
        supported = {"decision": decision, "institution": id, "action": encoded}
        events: list[Emitted] = [("DecisionSupported", supported)]
        if sum(one in self.active for one in [*supporters, id]) >= self._quorum(len(self.active)):
            events += [("DecisionTaken", {"decision": decision}), *self._perform(*action, block)]
            self.taken[action] = self.taken.get(action, 0) + 1
        supporters.append(id)
        return events

    def withdraw(self, sender: str, action: tuple[str, Any], encoded: bytes) -> list[Emitted]:
        id = self._active_id(sender)
        decision, supporters = self._decision(action, encoded)
        _require(id in supporters, "NotSupported", decision, id)
        place = supporters.index(id)
        supporters[place] = supporters[-1]
        supporters.pop()
        return [("SupportWithdrawn", {"decision": decision, "institution": id})]

    def _decision(self, action: tuple[str, Any], encoded: bytes) -> tuple[bytes, list[int]]:
        times = self.taken.get(action, 0)
        key = keccak(encode(["bytes32", "uint256"], [keccak(encoded), times]))
        return key, self.supporters.setdefault((*action, times), [])

    def _perform(self, name: str, arguments: Any, block: Block) -> list[Emitted]:
        actions = {
            "approveInitialModel": lambda *arguments: self._approve(*arguments, block),
            "registerInstitution": self._register,
            "suspendInstitution": self._suspend,
            "reinstateInstitution": self._reinstate,
            "revokeInstitution": self._revoke,
            "rotateKey": self._rotate_by_decision,
            "pause": self._pause,
            "unpause": self._unpause,
            "restartFrom": self._restart,
            "setAllowed": self._allow,
            "moveStudy": lambda successor: self._move(successor, block),
            "grantRole": self._grant,
            "revokeRole": self._revoke_role,
        }
        return actions[name](*arguments)

    def _approve(self, model: bytes, provenance: bytes, roster: bytes, block: Block) -> list[Emitted]:
        _require(self.initial_model == NO_HASH, "AlreadyFounded")
        _require(model != NO_HASH, "EmptyModel")
        _require(roster == self.roster, "WrongRoster", self.roster)
        self.initial_model, self.seed = model, block.parent
        return [("InitialModelApproved", {"model": model, "provenance": provenance, "roster": roster})]

    def _suspend(self, id: int) -> list[Emitted]:
        self._require_status(id, Status.ACTIVE)
        self._deactivate(id, Status.SUSPENDED)
        return [("InstitutionSuspended", {"institution": id})]

    def _reinstate(self, id: int) -> list[Emitted]:
        self._require_status(id, Status.SUSPENDED)
        self.institutions[id].status = Status.ACTIVE
        self.active.append(id)
        return [("InstitutionReinstated", {"institution": id})]

    def _revoke(self, id: int) -> list[Emitted]:
        if self._status(id) is Status.ACTIVE:
            self._deactivate(id, Status.REVOKED)
        else:
            self._require_status(id, Status.SUSPENDED)
            self.institutions[id].status = Status.REVOKED
        return [("InstitutionRevoked", {"institution": id})]

    def _deactivate(self, id: int, status: Status) -> None:
        _require(len(self.active) > 1, "LastInstitution", id)
        place = self.active.index(id)
        self.active[place] = self.active[-1]
        self.active.pop()
        self.institutions[id].status = status

    def _rotate_by_decision(self, id: int, wallet: str) -> list[Emitted]:
        _require(id < len(self.institutions), "NotActive", id, Status.NONE)
        return self._rotate(id, wallet)

    def _pause(self) -> list[Emitted]:
        _require(not self.paused, "EnforcedPause")
        self.paused = True
        return [("Paused", {"account": self.place[1]})]

    def _unpause(self) -> list[Emitted]:
        _require(self.successor == NO_ONE, "StudyOver", self.successor)
        _require(self.paused, "ExpectedPause")
        self.paused = False
        return [("Unpaused", {"account": self.place[1]})]

    def _restart(self, number: int) -> list[Emitted]:
        self._require_no_live_round()
        _require(self.successor == NO_ONE, "StudyOver", self.successor)
        _require(number == 0 or self.phase(number) is Phase.FINALIZED, "NotFinalized", number)
        self.head = number
        return [("ModelRestored", {"round": number, "model": self.global_model})]

    def _allow(self, config: bytes, allowed: bool) -> list[Emitted]:
        (self.allowed.add if allowed else self.allowed.discard)(config)
        return [("AllowanceChanged", {"hash": config, "allowed": allowed})]

    def _move(self, successor: str, block: Block) -> list[Emitted]:
        self._require_no_live_round()
        _require(self.successor == NO_ONE, "StudyOver", self.successor)
        _require(successor != NO_ONE, "InvalidWallet", successor)
        self.successor = successor
        moved = {
            "successor": successor,
            "last_round": len(self.rounds),
            "model": self.global_model,
            "checkpoint": block.parent,
        }
        return [("StudyMoved", moved), *([] if self.paused else self._pause())]

    def _grant(self, role: bytes, account: str) -> list[Emitted]:
        _require(role != ADMINISTRATOR, "AdministratorFixed")
        _require(account not in self.wallets, "InvalidWallet", account)
        if account in self.coordinators:
            return []
        self.coordinators.add(account)
        return [("RoleGranted", {"role": role, "account": account, "sender": self.place[1]})]

    def _revoke_role(self, role: bytes, account: str) -> list[Emitted]:
        _require(role != ADMINISTRATOR, "AdministratorFixed")
        if account not in self.coordinators:
            return []
        self.coordinators.discard(account)
        return [("RoleRevoked", {"role": role, "account": account, "sender": self.place[1]})]

    # Rounds.

    def open_round(self, sender: str, config: bytes, block: Block) -> list[Emitted]:
        self._require_running()
        self._require_coordinator(sender)
        self._require_no_live_round()
        _require(self.initial_model != NO_HASH, "NotFounded")
        _require(config in self.allowed, "NotAllowed", config)
        drawn, active = self.rules.cohort_size, len(self.active)
        needed = drawn or self.rules.minimum_accepted
        _require(active >= needed, "TooFewInstitutions", active, needed)
        number = len(self.rounds) + 1
        members = draw(self.seed, self.active, drawn) if drawn else tuple(self.active)
        opened = ModelRound(
            members=members,
            quorum=self._quorum(len(members)),
            deadline=block.timestamp + self.rules.submission_seconds,
            opened_block=block.number,
            parent=self.head,
            base_model=self.global_model,
            config=config,
        )
        self.rounds.append(opened)
        event = {
            "round": number,
            "base_model": opened.base_model,
            "parent": opened.parent,
            "config": config,
            "members": members,
            "quorum": opened.quorum,
            "deadline": opened.deadline,
        }
        return [("RoundOpened", event)]

    def submit(self, signer: str, update: UpdateCommitment, block: Block) -> list[Emitted]:
        """`signer` is whoever sends the submission, or has signed it for another to send."""
        id = self._active_id(signer)
        _require(update.institution == id, "WrongSigner", signer, update.institution)
        number, round = update.round, self._round(update.round)
        _require(not self.halted(number), "EnforcedPause")
        _require(round is not None and round.phase.takes_updates, "WrongPhase", number, self.phase(number))
        assert round is not None
        _require(block.timestamp <= round.deadline, "DeadlinePassed", round.deadline)
        _require(id in round.members, "NotMember", number, id)
        _require(id not in round.commitments, "AlreadySubmitted", number, id)
        _require(update.base_model == round.base_model, "WrongBaseModel", round.base_model)
        institution, epsilon = self.institutions[id], update.epsilon
        _require(
            update.weight_class == institution.weight_class, "WrongWeightClass", institution.weight_class
        )
        _require(epsilon <= institution.epsilon_budget, "OverBudget", epsilon, institution.epsilon_budget)
        _require(epsilon >= institution.epsilon_spent, "SpendDecreased", epsilon, institution.epsilon_spent)
        round.commitments[id] = self.digest(update)
        round.phase = Phase.SUBMITTING
        institution.epsilon_spent = epsilon
        event = {
            "round": number,
            "institution": id,
            "commitment": round.commitments[id],
            "sealed_hash": update.sealed_hash,
            "plaintext_hash": update.plaintext_hash,
            "manifest_hash": update.manifest_hash,
            "weight_class": update.weight_class,
            "epsilon": epsilon,
        }
        return [("UpdateSubmitted", event)]

    def report(
        self, one: UpdateCommitment, signer: str | None, other: UpdateCommitment, other_signer: str | None
    ) -> list[Emitted]:
        """The signers are those of the two signatures; None for an empty one."""
        number, id = one.round, one.institution
        digests = self.digest(one), self.digest(other)
        same_place = (other.round, other.institution) == (number, id)
        _require(digests[0] != digests[1] and same_place, "NoEquivocation")
        round = self._round(number)
        _require(round is not None and id in round.members, "NotMember", number, id)
        assert round is not None
        _require((number, id) not in self.equivocated, "AlreadyProven", number, id)
        for digest, author in zip(digests, (signer, other_signer), strict=True):
            if round.commitments.get(id) != digest:
                _require(author is not None, "ECDSAInvalidSignatureLength", 0)
                _require(author in self.wallets, "UnknownInstitution", author)
                current = self.institutions[id].wallet == author
                of_the_round = current or number <= self.last_round_of.get(str(author), 0)
                _require(self.wallets[str(author)] == id and of_the_round, "WrongSigner", author, id)
        self.equivocated.add((number, id))
        self.institutions[id].strikes += 1
        commitments = {"commitment": digests[0], "other_commitment": digests[1]}
        return [("EquivocationProven", {"round": number, "institution": id, **commitments})]

    def digest(self, update: UpdateCommitment) -> bytes:
        """The EIP-712 digest, by the specification."""
        domain = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        kind = (
            "Submission(uint256 round,uint16 institution,bytes32 baseModel,bytes32 sealedHash,"
            "bytes32 plaintextHash,bytes32 manifestHash,uint16 weightClass,uint64 epsilon)"
        )
        names = (keccak(text="FedChest"), keccak(text="1"))
        separator = keccak(
            encode([*3 * ["bytes32"], "uint256", "address"], [keccak(text=domain), *names, *self.place])
        )
        types = ["bytes32", "uint256", "uint16", *4 * ["bytes32"], "uint16", "uint64"]
        struct = keccak(encode(types, [keccak(text=kind), *astuple(update)]))
        return keccak(b"\x19\x01" + separator + struct)

    def propose(
        self,
        sender: str,
        number: int,
        proposal: Proposal,
        accepted: Sequence[int],
        scores: Sequence[int],
        refusals: Sequence[tuple[int, int]],
        block: Block,
    ) -> list[Emitted]:
        self._require_running()
        self._require_coordinator(sender)
        round = self._round(number)
        submitting = round is not None and round.phase is Phase.SUBMITTING
        _require(submitting, "WrongPhase", number, self.phase(number))
        assert round is not None
        _require(proposal.new_model != NO_HASH, "EmptyModel")
        _require_canonical(proposal.fingerprint)
        minimum = self.rules.minimum_accepted
        _require(len(accepted) >= minimum, "TooFewAccepted", len(accepted), minimum)
        for position, id in enumerate(accepted):
            _require(position == 0 or id > accepted[position - 1], "NotIncreasing", id)
            _require(id in round.commitments, "NotSubmitted", number, id)
        due = len(accepted) if self.rules.by_contribution else 0
        _require(len(scores) == due, "WrongScores", len(scores), due)
        events = self._refusals(number, refusals)
        for id, _reason in refusals:
            _require(id not in accepted, "AcceptedAndRefused", id)
        round.phase = Phase.PROPOSED
        round.deadline = block.timestamp + self.rules.attestation_seconds
        round.new_model, round.record = proposal.new_model, proposal.record
        round.sum_hash, round.fingerprint = proposal.sum_hash, proposal.fingerprint
        round.artifacts = proposal.artifacts
        proposed = [astuple(proposal), list(accepted), list(scores)]
        types = ["(bytes32,bytes32,bytes32,bytes24,bytes32)", "uint16[]", "uint32[]"]
        round.proposal = keccak(encode(types, proposed))
        round.accepted, round.unanswered = tuple(accepted), set(accepted)
        round.scores = tuple(scores)
        proposed = {
            "round": number,
            **vars(proposal),
            "accepted": round.accepted,
            "scores": round.scores,
            "deadline": round.deadline,
        }
        return [*events, ("AggregateProposed", proposed)]

    def abandon(self, sender: str, number: int, refusals: Sequence[tuple[int, int]]) -> list[Emitted]:
        self._require_running()
        self._require_coordinator(sender)
        _require(self.phase(number).takes_updates, "WrongPhase", number, self.phase(number))
        return [*self._refusals(number, refusals), self._void(number, VoidCause.ABANDONED, None)]

    def attest(self, sender: str, number: int, result: Attestation, block: Block) -> list[Emitted]:
        self._require_running()
        id = self._active_id(sender)
        round = self._round(number)
        votable = round is not None and (
            round.phase is Phase.PROPOSED or (number == len(self.rounds) and round.new_model != NO_HASH)
        )
        _require(votable, "WrongPhase", number, self.phase(number))
        assert round is not None
        counts = round.phase is Phase.PROPOSED
        _require(result.proposal == round.proposal, "WrongProposal", round.proposal)
        _require(not counts or block.timestamp <= round.deadline, "DeadlinePassed", round.deadline)
        _require(id in round.members, "NotMember", number, id)
        _require(id not in round.attested, "AlreadyAttested", number, id)
        answers = counts and id in round.unanswered
        if answers:
            _require_canonical(result.share)
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
        if answers:
            round.unanswered.discard(id)
            round.gathered = _added(round.gathered, result.share, self.institutions[id].weight_class)
        if not counts:
            return [("Attested", attested)]
        round.agreeing += agrees
        round.disagreeing += not agrees
        return [("Attested", attested), *self._settle(number, block)]

    def answer_for(
        self, sender: str, number: int, id: int, proposal: bytes, share: bytes, block: Block
    ) -> list[Emitted]:
        self._require_running()
        voucher = self._active_id(sender)
        round = self._round(number)
        proposed = round is not None and round.phase is Phase.PROPOSED
        _require(proposed, "WrongPhase", number, self.phase(number))
        assert round is not None
        _require(proposal == round.proposal, "WrongProposal", round.proposal)
        _require(block.timestamp <= round.deadline, "DeadlinePassed", round.deadline)
        _require(voucher in round.members, "NotMember", number, voucher)
        _require(id in round.unanswered, "NotOwed", number, id)
        vouched = round.vouched.get(id, {})
        _require(voucher not in vouched, "AlreadyVouched", number, id, voucher)
        backing = list(vouched.values()).count(share) + 1
        if backing >= round.quorum:
            _require_canonical(share)
        round.vouched[id] = {**vouched, voucher: share}
        events: list[Emitted] = [
            ("AnsweredFor", {"round": number, "institution": id, "voucher": voucher, "share": share})
        ]
        if backing < round.quorum:
            return events
        round.unanswered.discard(id)
        round.gathered = _added(round.gathered, share, self.institutions[id].weight_class)
        return [*events, *self._settle(number, block)]

    def expire(self, number: int, block: Block) -> list[Emitted]:
        round = self._round(number)
        live = round is not None and round.phase.is_live
        _require(live, "WrongPhase", number, self.phase(number))
        assert round is not None
        _require(block.timestamp > round.deadline, "DeadlineNotReached", round.deadline)
        return [self._void(number, VoidCause.EXPIRED, block)]

    def phase(self, number: int) -> Phase:
        round = self._round(number)
        return Phase.NONE if round is None else round.phase

    def halted(self, number: int) -> bool:
        return self.paused and number == len(self.rounds)

    def _round(self, number: int) -> ModelRound | None:
        return self.rounds[number - 1] if 1 <= number <= len(self.rounds) else None

    def _active_id(self, wallet: str) -> int:
        _require(wallet in self.wallets, "UnknownInstitution", wallet)
        id = self.wallets[wallet]
        _require(self.institutions[id].wallet == wallet, "RetiredKey", wallet, id)
        self._require_status(id, Status.ACTIVE)
        return id

    def _status(self, id: int) -> Status:
        return self.institutions[id].status if id < len(self.institutions) else Status.NONE

    def _require_status(self, id: int, status: Status) -> None:
        _require(self._status(id) is status, "NotActive", id, self._status(id))

    def _require_running(self) -> None:
        _require(not self.paused, "EnforcedPause")

    def _require_coordinator(self, sender: str) -> None:
        _require(sender in self.coordinators, "AccessControlUnauthorizedAccount", sender, COORDINATOR)

    def _require_no_live_round(self) -> None:
        number = len(self.rounds)
        _require(not self.phase(number).is_live, "RoundLive", number)

    def _quorum(self, members: int) -> int:
        return members // 2 + 1 if self.rules.crash_only else 2 * members // 3 + 1

    def _refusals(self, number: int, refusals: Sequence[tuple[int, int]]) -> list[Emitted]:
        events: list[Emitted] = []
        for position, (id, reason) in enumerate(refusals):
            _require(position == 0 or id > refusals[position - 1][0], "NotIncreasing", id)
            _require(id in self.rounds[number - 1].members, "NotMember", number, id)
            _require(reason > 0, "MissingReason", id)
            events.append(("UpdateRefused", {"round": number, "institution": id, "reason": reason}))
        return events

    def _settle(self, number: int, block: Block) -> list[Emitted]:
        round = self.rounds[number - 1]
        if round.disagreeing > len(round.members) - round.quorum:
            return [self._void(number, VoidCause.REJECTED, block)]
        if round.unanswered:
            return []
        if round.gathered != round.fingerprint:
            return [self._void(number, VoidCause.DISPUTED, block)]
        return self._finalize(number, block) if round.agreeing >= round.quorum else []

    def _finalize(self, number: int, block: Block) -> list[Emitted]:
        round = self.rounds[number - 1]
        round.phase = Phase.FINALIZED
        self.head = number
        self.seed = block.parent
        events: list[Emitted] = [("RoundFinalized", {"round": number, "new_model": round.new_model})]
        weights = [self.institutions[id].weight_class for id in round.accepted]
        parts = round.scores if any(round.scores) else weights
        for id, part in zip(round.accepted, parts, strict=True):
            amount = ROUND_CREDITS * part // sum(parts)
            self.institutions[id].credits += amount
            events.append(("Credited", {"round": number, "institution": id, "amount": amount}))
        return events

    def _void(self, number: int, cause: VoidCause, block: Block | None) -> Emitted:
        """Without a `block` the next cohort is drawn as this one was."""
        if block is not None:
            self.seed = block.parent
        self.rounds[number - 1].phase = Phase.VOID
        return ("RoundVoided", {"round": number, "cause": cause})


def draw(seed: bytes, active: Sequence[int], size: int) -> tuple[int, ...]:
    """Floyd's sample of `size` of the active, in the order drawn."""
    drawn: list[int] = []
    for position, last in enumerate(range(len(active) - size, len(active))):
        number_drawn = int.from_bytes(keccak(encode(["bytes32", "uint16"], [seed, position])), "big")
        pick = active[number_drawn % (last + 1)]
        drawn.append(active[last] if pick in drawn else pick)
    return tuple(drawn)


def _lanes(fingerprint: bytes) -> list[int]:
    return [int.from_bytes(fingerprint[start : start + 8]) for start in (0, 8, 16)]


def _require_canonical(fingerprint: bytes) -> None:
    _require(all(lane < 2**61 - 1 for lane in _lanes(fingerprint)), "InvalidFingerprint", fingerprint)


def _added(total: bytes, share: bytes, weight: int) -> bytes:
    lanes = zip(_lanes(total), _lanes(share), strict=True)
    return b"".join(((one + weight * other) % (2**61 - 1)).to_bytes(8) for one, other in lanes)


def _require(condition: object, name: str, *values: Any) -> None:
    if not condition:
        raise ModelRefusal(name, *values)
