"""The contract and the file ledger's rules, on the same random sequences of actions: same events, refusals, views."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from contract_driver import CHAIN_ID, ContractDriver
from eth_account import Account

from fedchest.aggregation.fingerprint import NOTHING, combined
from fedchest.ledger.artifact import artifact
from fedchest.ledger.calls import encoded_call
from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.file.rules.decisions import decision_of
from fedchest.ledger.file.rules.dispatch import act, create
from fedchest.ledger.file.rules.shown import view
from fedchest.ledger.file.rules.state import ADMINISTRATOR, NO_HASH, NO_ONE
from fedchest.ledger.file.rules.state import COORDINATOR as ROLE
from fedchest.ledger.file.rules.submissions import digest_of
from fedchest.ledger.file.rules.votes import ROUND_CREDITS
from fedchest.ledger.records import (
    REQUIRED_CHECKS,
    Attestation,
    Phase,
    Proposal,
    Rules,
    Status,
    UpdateCommitment,
)

SEQUENCES, STEPS = 1000, 40
SECONDS = 500
BUDGET = 100
ACCOUNTS = [Account.from_key(bytes([number]) * 32) for number in range(1, 14)]
KEYS = {str(account.address): account for account in ACCOUNTS}
COORDINATOR, OUTSIDER, *WALLETS = KEYS
HOSPITALS = 6
CONFIG, OTHER_CONFIG = b"c" * 32, b"o" * 32
MODELS = [bytes([letter]) * 32 for letter in b"abc"]
HASHES = (b"s" * 32, b"p" * 32, b"m" * 32)
RECORD, SUM, ROOT, PROVENANCE = b"r" * 32, b"q" * 32, b"t" * 32, b"v" * 32
UNCANONICAL = bytes(8) + (2**61 - 1).to_bytes(8) + bytes(8)


class Sequence:
    """One study on both sides, driven by a seed. An action has at most one fault, and mostly none."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        founders = self.random.choice([1, 2, 4, 4, 4, 4])
        minimum = self.random.choice([1, 2, 3, 4])
        cohort = self.random.choice([0, 0, 0, max(3, minimum)])
        crash_only = self.random.random() < 0.3
        scored = self.random.random() < 0.4
        rules = Rules(
            CONFIG, b"a" * 32, founders, SECONDS, SECONDS, cohort, minimum, crash_only, scored, 10**6, BUDGET
        )
        self.contract = ContractDriver(rules, COORDINATOR)
        self.model, created = create(rules, COORDINATOR, (CHAIN_ID, self.contract.address))
        assert created == self.contract.created
        self.decisions: dict[bytes, tuple[str, tuple[Any, ...]]] = {}
        self.said: list[str] = []

    @property
    def number(self) -> int:
        return len(self.model.rounds)

    @property
    def phase(self) -> Phase:
        return self.model.phase(self.number)

    @property
    def suspended(self) -> list[int]:
        return [id for id, one in enumerate(self.model.institutions) if one.status is Status.SUSPENDED]

    def step(self) -> None:
        """One action, mostly of those that the round's phase calls for."""
        over = {self.open: 4, self.attest: 1, self.decide: 7}
        before = {self.found: 30, self.register: 1, self.decide: 1, self.open: 0.3}
        calls: dict[Phase, dict[Callable[[], None], float]] = {
            Phase.NONE: over if self.model.initial_model != NO_HASH else before,
            Phase.OPEN: {self.submit: 9, self.relay: 3, self.abandon: 0.3, self.expire: 0.3},
            Phase.SUBMITTING: {
                self.submit: 7,
                self.relay: 3,
                self.propose: 4,
                self.abandon: 0.3,
                self.expire: 0.3,
            },
            Phase.PROPOSED: {self.attest: 12, self.answer_for: 5, self.expire: 0.5},
            Phase.FINALIZED: over,
            Phase.VOID: over,
        }
        anything = list(dict.fromkeys(action for actions in calls.values() for action in actions))
        anything += [self.decide, self.decide, self.rotate, self.report, self.withdraw]
        if self.model.paused and self.random.random() < 0.6:
            self.support("unpause", ())
        elif self.suspended and self.random.random() < 0.15:
            self.support("reinstateInstitution", (self.suspended[0],))
        elif self.phase.is_live and self.contract.now > self.model.rounds[-1].deadline:
            self.random.choice([self.expire, self.expire, *anything])()
        elif self.random.random() < 0.2:
            self.random.choice(anything)()
        else:
            actions = calls[self.phase]
            self.random.choices(list(actions), list(actions.values()))[0]()

    def fault(self, *names: str) -> str:
        return self.random.choice(names) if self.random.random() < 0.3 else "none"

    def member(self, fault: str = "none") -> str:
        """A wallet to act with: mostly an institution's present one."""
        if fault == "sender" or not self.model.institutions:
            return OUTSIDER
        if fault == "old key":
            return self.random.choice(list(self.model.wallets))
        return self.random.choice(self.model.institutions).wallet

    def free_wallet(self) -> str:
        """Mostly one that nobody has."""
        free = [wallet for wallet in WALLETS if wallet not in self.model.wallets]
        taken = [NO_ONE, COORDINATOR, *self.model.wallets]
        return self.random.choice(taken if not free or self.random.random() < 0.2 else free)

    def entry(self) -> tuple[str, int, int]:
        """What an institution is registered with."""
        fault = self.fault("weightless", "budget")
        weight = 0 if fault == "weightless" else self.random.randint(1, 9)
        return self.free_wallet(), weight, BUDGET + (fault == "budget")

    def found(self) -> None:
        """One step straight to the first model."""
        if len(self.model.institutions) < self.model.rules.founders:
            arguments = (WALLETS[len(self.model.institutions)], self.random.randint(1, 9), BUDGET)
            self.both(1, COORDINATOR, "registerFounder", arguments)
        else:
            roster = NO_HASH if self.random.random() < 0.1 else self.model.roster
            self.support("approveInitialModel", (MODELS[0], PROVENANCE, roster))

    def register(self) -> None:
        sender = OUTSIDER if self.fault("sender") == "sender" else COORDINATOR
        arguments = self.entry()
        self.both(1, sender, "registerFounder", arguments)

    def action(self) -> tuple[str, tuple[Any, ...]]:
        """Something to decide; now and then what can't be done, and mostly what others support already."""
        count = len(self.model.institutions)
        waiting = [self.decisions[one] for one in self.decisions if self.supporters(one)]
        if waiting and self.random.random() < 0.75:
            return self.random.choice(waiting)
        if self.model.initial_model == NO_HASH and count >= 3 and self.random.random() < 0.9:
            roster = NO_HASH if self.fault("roster") == "roster" else self.model.roster
            model = NO_HASH if self.random.random() < 0.1 else MODELS[0]
            return ("approveInitialModel", (model, PROVENANCE, roster))
        some = self.random.randrange(count + 1)
        finalized = [n + 1 for n, one in enumerate(self.model.rounds) if one.phase is Phase.FINALIZED]
        choices: dict[str, tuple[Any, ...]] = {
            "registerInstitution": self.entry() if count < HOSPITALS else (NO_ONE, 1, 1),
            "suspendInstitution": (some,),
            "reinstateInstitution": (some,),
            "revokeInstitution": (some,),
            "rotateKey": (some, self.free_wallet()),
            "pause": (),
            "unpause": (),
            "restartFrom": (self.random.choice([0, self.number, *finalized]),),
            "setAllowed": (OTHER_CONFIG, self.random.random() < 0.7),
            "grantRole": (self.role(), self.random.choice([*WALLETS[:2], WALLETS[-1]])),
            "revokeRole": (self.role(), self.random.choice([COORDINATOR, WALLETS[-1]])),
        }
        if self.random.random() < 0.02:
            return ("moveStudy", (self.random.choice([NO_ONE, OUTSIDER]),))
        weights = [3 if name == "restartFrom" else 1 for name in choices]
        return self.random.choices(list(choices.items()), weights)[0]

    def role(self) -> bytes:
        return self.random.choices([ADMINISTRATOR, ROLE, b"w" * 32], [3, 6, 1])[0]

    def decide(self) -> None:
        self.support(*self.action())

    def support(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Mostly by one that does not support it yet."""
        encoded = encoded_call(name, arguments)
        self.decisions[encoded] = (name, arguments)
        supporters = self.supporters(encoded)
        left = [id for id in self.model.active if id not in supporters]
        sender = self.member(self.fault("sender", "old key"))
        if left and self.random.random() < 0.7:
            sender = self.model.institutions[self.random.choice(left)].wallet
        encoded = encoded_call(name, arguments)
        self.both(1, sender, "support", (encoded,))

    def supporters(self, encoded: bytes) -> list[int]:
        return self.model.supporters.get(decision_of(self.model, encoded), [])

    def withdraw(self) -> None:
        name, arguments = self.action()
        sender, encoded = self.member(), encoded_call(name, arguments)
        self.both(1, sender, "withdraw", (encoded,))

    def rotate(self) -> None:
        sender, wallet = self.member(self.fault("sender", "old key")), self.free_wallet()
        self.both(1, sender, "rotateOwnKey", (wallet,))

    def open(self) -> None:
        fault = self.fault("sender", "config")
        sender = OUTSIDER if fault == "sender" else COORDINATOR
        config = OTHER_CONFIG if fault == "config" else CONFIG
        self.both(1, sender, "openRound", (config,))

    def update(self, wallet: str, fault: str = "none") -> UpdateCommitment:
        """What the wallet's institution may commit to, but for the fault."""
        number = max(self.number - (fault == "round"), 0)
        base = self.model.rounds[-1].base_model if self.number and fault != "base" else b"z" * 32
        id = self.model.wallets.get(wallet, 0)
        institution = self.model.institutions[id] if self.model.institutions else None
        weight, spent = (institution.weight_class, institution.epsilon_spent) if institution else (1, 0)
        spends = {"less": max(spent - 1, 0), "all": BUDGET, "over": BUDGET + 1}
        epsilon = spends.get(fault, min(spent + self.random.randint(0, 3), BUDGET))
        author = id + (fault == "author")
        return UpdateCommitment(number, author, base, *HASHES, weight + (fault == "weight"), epsilon)

    def submit(self) -> None:
        fault = self.fault(*SUBMISSION_FAULTS)
        sender = self.member(fault)
        update = self.update(sender, fault)
        self.both(self.seconds_to(fault), sender, "submitUpdate", (update,))

    def relay(self) -> None:
        """Anyone sends what an institution signed."""
        fault = self.fault(*SUBMISSION_FAULTS)
        signer = self.member(fault)
        update = self.update(signer, fault)
        self.both(
            self.seconds_to(fault), OUTSIDER, "submitUpdateFor", (update, self.signature(update, signer))
        )

    def report(self) -> None:
        """Two different submissions of one institution, signed or on chain; or something that looks like it."""
        fault = self.fault("same", "round", "stranger", "other", "empty")
        author = self.member("old key")
        id = self.model.wallets.get(author, 0)
        one = self.update(author)
        other = replace(one, sealed_hash=one.sealed_hash if fault == "same" else b"2" * 32)
        if fault == "round":
            other = replace(other, round=one.round + 1)
        strangers = {"stranger": OUTSIDER, "other": self.member()}
        signers = [author, strangers.get(fault, author)]
        signatures = [self.signature(one, signers[0]), self.signature(other, signers[1])]
        if fault == "empty":
            signers[1], signatures[1] = None, b""  # type: ignore[call-overload]
        elif self.number and digest_of(self.model, one) == self.model.rounds[-1].commitments.get(id):
            signers[0], signatures[0] = None, b""  # type: ignore[call-overload]
        arguments = (one, signatures[0], other, signatures[1])
        self.both(1, OUTSIDER, "reportEquivocation", arguments)

    def signature(self, update: UpdateCommitment, wallet: str) -> bytes:
        return bytes(KEYS[wallet].unsafe_sign_hash(digest_of(self.model, update)).signature)

    def propose(self) -> None:
        round = self.model.rounds[-1] if self.number else None
        accepted = sorted(round.commitments) if round else []
        if len(accepted) > 2 and self.random.random() < 0.5:
            accepted.remove(self.random.choice(accepted))
        fault = self.fault(
            "sender",
            "empty",
            "few",
            "repeated",
            "unsubmitted",
            "overlap",
            "past",
            "fingerprint",
            "sum",
            "scores",
            *REFUSAL_FAULTS,
        )
        if fault == "repeated":
            accepted = [id for id in accepted for _ in range(2)]
        if fault == "few":
            accepted = accepted[:1]
        refused = self.refusals(accepted, fault)
        if fault == "unsubmitted":
            accepted = list(range(len(self.model.institutions)))
        sender = OUTSIDER if fault == "sender" else COORDINATOR
        model = NO_HASH if fault == "empty" else self.random.choice(MODELS)
        total = self.fingerprint_of(accepted) if fault != "sum" else bytes(24)
        proposal = Proposal(model, RECORD, SUM, UNCANONICAL if fault == "fingerprint" else total, ROOT)
        due = len(accepted) if self.model.rules.by_contribution else 0
        scores = [self.random.choice([0, 0, 1, 2**32 - 1]) for _ in range(due + (fault == "scores"))]
        arguments = (self.number, proposal, accepted, scores, refused)
        self.both(self.seconds_to(fault), sender, "proposeAggregate", arguments)

    def fingerprint_of(self, accepted: list[int]) -> bytes:
        """What the shares of the accepted add up to."""
        total = NOTHING
        for id in accepted:
            if id < len(self.model.institutions):
                total = combined(total, share_of(id), self.model.institutions[id].weight_class)
        return total

    def abandon(self) -> None:
        fault = self.fault("sender", *REFUSAL_FAULTS)
        sender = OUTSIDER if fault == "sender" else COORDINATOR
        arguments = (self.number, self.refusals([], fault))
        self.both(1, sender, "abandonRound", arguments)

    def refusals(self, accepted: list[int], fault: str) -> list[tuple[int, int]]:
        """For each member that is not accepted, spoilt by a fault of REFUSAL_FAULTS."""
        members = self.model.rounds[-1].members if self.number else ()
        refused = [(id, 1 + id) for id in sorted(members) if id not in accepted]
        spoilt = {
            "overlap": sorted(refused + [(id, 1) for id in accepted[-1:]]),
            "no reason": [(id, 0) for id, _ in refused],
            "outsider": [*refused, (len(WALLETS), 1)],
            "refused twice": [pair for pair in refused for _ in range(2)],
        }
        return spoilt.get(fault, refused)

    def attest(self) -> None:
        fault = self.fault(
            "sender",
            "old key",
            "round",
            "vote",
            "vote",
            "checks",
            "sum",
            "share",
            "other",
            "form",
            "deadline",
            "past",
        )
        sender = self.member(fault)
        number = max(self.number - (fault == "round"), 0)
        round = self.model.rounds[number - 1] if number else None
        model = b"z" * 32 if fault == "vote" or round is None else round.new_model
        total = bytes(24) if fault == "sum" or round is None else round.fingerprint
        id = self.model.wallets.get(sender, 0)
        share = {"share": bytes(24), "form": UNCANONICAL}.get(fault, share_of(id))
        checks = self.random.randrange(256) if fault == "checks" else REQUIRED_CHECKS
        about = NO_HASH if fault == "other" or round is None else round.proposal
        arguments = (number, Attestation(about, model, total, share, checks))
        self.both(self.seconds_to(fault), sender, "attest", arguments)

    def answer_for(self) -> None:
        """For one that is silent, most often; the members mostly found the same share."""
        fault = self.fault("sender", "old key", "round", "share", "form", "other", "owed", "deadline", "past")
        sender = self.member(fault)
        number = max(self.number - (fault == "round"), 0)
        round = self.model.rounds[number - 1] if number else None
        silent = sorted(round.unanswered) if round is not None and fault != "owed" else []
        id = silent[-1] if silent else self.random.randrange(len(WALLETS))
        share = {"share": bytes(24), "form": UNCANONICAL}.get(fault, share_of(id))
        about = NO_HASH if fault == "other" or round is None else round.proposal
        arguments = (number, id, about, share)
        self.both(self.seconds_to(fault), sender, "answerFor", arguments)

    def expire(self) -> None:
        moment = self.random.choice(["now", "deadline", "past"])
        number = max(self.number - (self.random.random() < 0.2), 0)
        self.both(self.seconds_to(moment), OUTSIDER, "expireRound", (number,))

    def seconds_to(self, fault: str) -> int:
        """From the last block to the last round's last second, to the one after it, or else to the next."""
        left = self.model.rounds[-1].deadline - self.contract.now if self.number else 0
        return left + (fault == "past") if fault in ("deadline", "past") and left > 0 else 1

    def both(self, seconds: int, sender: str, action: str, arguments: tuple[Any, ...]) -> None:
        """Run one action on both sides and compare what came of it."""
        now = self.contract.next_moment(seconds)
        expected: object
        try:
            expected = emitted = act(self.model, sender, encoded_call(action, arguments), now)
            self.said += [name for name, _ in emitted]
        except LedgerRefusal as refused:
            expected = (refused.name, refused.values)
            self.said.append(refused.name)
        found: object
        try:
            found = self.contract.run(sender, action, *arguments)
        except LedgerRefusal as refused:
            found = (refused.name, refused.values)
        assert found == expected, (action, arguments)
        self.compare_state()

    def compare_state(self) -> None:
        number = self.number
        names = (
            "globalModel",
            "currentRound",
            "head",
            "paused",
            "roster",
            "activeCount",
            "successor",
            "totalWeight",
        )
        views: list[tuple[Any, ...]] = [(name,) for name in names]
        views += [
            ("hasRole", role, account) for role in (ROLE, b"w" * 32) for account in (COORDINATOR, *WALLETS)
        ]
        views += [("isAllowed", config) for config in (CONFIG, OTHER_CONFIG)]
        views += [(name, number) for name in ("round", "accepted", "scores")]
        of_member = ("isMember", "commitment", "hasAttested", "owes", "hasEquivocated")
        for id in range(len(self.model.institutions)):
            views += [("institution", id), *((name, number, id) for name in of_member)]
        for one in views:
            assert self.contract.view(*one) == view(self.model, *one), one
        finalized = sum(round.phase is Phase.FINALIZED for round in self.model.rounds)
        credits = sum(institution.credits for institution in self.model.institutions)
        assert credits <= ROUND_CREDITS * finalized


def share_of(id: int) -> bytes:
    """What an institution answers as its fingerprint."""
    return bytes([0] * 7 + [id + 1] + [0] * 8) + (2**61 - 2).to_bytes(8)


SUBMISSION_FAULTS = (
    "sender",
    "old key",
    "author",
    "round",
    "base",
    "weight",
    "less",
    "over",
    "all",
    "deadline",
    "past",
)
REFUSAL_FAULTS = ("no reason", "outsider", "refused twice")


UNREACHED = {
    "StudyCreated",
    "InvalidRules",
    # OpenZeppelin's, which nothing here leads to.
    "RoleAdminChanged",
    "AccessControlBadConfirmation",
    "AddressEmptyCode",
    "InsufficientBalance",
    # The test below tries it.
    "TooHeavy",
    # What malformed bytes lead to; test_governance.py tries them.
    "FailedCall",
    "ECDSAInvalidSignature",
    "ECDSAInvalidSignatureS",
}


@pytest.mark.slow
def test_random_sequences_agree_with_the_model() -> None:
    said: set[str] = set()
    for seed in range(SEQUENCES):
        sequence = Sequence(seed)
        for step in range(STEPS):
            try:
                sequence.step()
            except AssertionError as difference:
                difference.add_note(f"in step {step} of sequence {seed}")
                raise
        said.update(sequence.said)
    # Else the two would agree about nothing; what the constructor says is tried in test_client.py.
    named = {entry["name"] for entry in artifact().abi if entry["type"] in ("event", "error")}
    assert named - said == UNREACHED


def test_weights_that_could_not_be_added_exactly_are_refused() -> None:
    heaviest, most = 2**16 - 1, 2**13
    rules = Rules(CONFIG, b"a" * 32, most + 1, SECONDS, SECONDS, 0, 1, False, False, 10**6, BUDGET)
    contract = ContractDriver(rules, COORDINATOR)
    for number in range(1, most + 1):
        contract.run(COORDINATOR, "registerFounder", f"0x{number:040x}", heaviest, BUDGET)
    assert contract.view("totalWeight") == most * heaviest <= 2**29
    with pytest.raises(LedgerRefusal, match="TooHeavy"):
        contract.run(COORDINATOR, "registerFounder", f"0x{most + 1:040x}", heaviest, BUDGET)
