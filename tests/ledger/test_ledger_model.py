"""The contract and its Python model, on the same random sequences of actions: same events, refusals and state."""

from collections.abc import Callable
from random import Random
from typing import Any

from contract_driver import CHAIN_ID, ContractDriver
from ledger_model import NO_HASH, NO_ONE, ROUND_CREDITS, Emitted, LedgerModel, ModelRefusal

from fedchest.ledger.artifact import artifact
from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.records import REQUIRED_CHECKS, Phase, Rules

SEQUENCES = 60
STEPS = 80
SECONDS = 500
BUDGET = 100
COORDINATOR, OUTSIDER, *HOSPITALS = (f"0x{number:040x}" for number in range(0xC0, 0xC8))
MODELS = [bytes([letter]) * 32 for letter in b"abc"]
HASHES = (b"s" * 32, b"p" * 32, b"m" * 32)
RECORD = b"r" * 32


class Sequence:
    """One study on both sides, driven by a seed. An action has at most one fault, and mostly none."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        cohort = self.random.choice([0, 0, 2, 3])
        minimum = self.random.choice([1, 2])
        rules = Rules(b"r" * 32, SECONDS, SECONDS, cohort, minimum, self.random.random() < 0.3)
        self.model = LedgerModel(rules, COORDINATOR, MODELS[0])
        self.contract = ContractDriver(rules, COORDINATOR, MODELS[0])
        self.said: list[str] = []

    @property
    def number(self) -> int:
        return len(self.model.rounds)

    @property
    def phase(self) -> Phase:
        return self.model.phase(self.number)

    def step(self) -> None:
        """One action, mostly of those that the round's phase calls for."""
        over = {self.register: 1, self.open: 2, self.attest: 1}
        calls: dict[Phase, dict[Callable[[], None], float]] = {
            Phase.NONE: {self.register: 6, self.open: 1},
            Phase.OPEN: {self.submit: 9, self.propose: 3, self.abandon: 0.3, self.expire: 0.5},
            Phase.PROPOSED: {self.attest: 9, self.expire: 0.5},
            Phase.FINALIZED: over,
            Phase.VOID: over,
        }
        anything = [
            self.register,
            self.open,
            self.submit,
            self.propose,
            self.abandon,
            self.attest,
            self.expire,
        ]
        if self.random.random() < 0.1:
            self.random.choice(anything)()
        else:
            actions = calls[self.phase]
            self.random.choices(list(actions), list(actions.values()))[0]()

    def fault(self, *names: str) -> str:
        return self.random.choice(names) if self.random.random() < 0.3 else "none"

    def register(self) -> None:
        fault = self.fault("sender", "no one", "coordinator", "weightless")
        sender = HOSPITALS[0] if fault == "sender" else COORDINATOR
        wallets = {"no one": NO_ONE, "coordinator": COORDINATOR}
        wallet = wallets.get(fault, self.random.choice(HOSPITALS))
        arguments = (wallet, 0 if fault == "weightless" else self.random.randint(1, 9), BUDGET)
        self.both(
            1, sender, "registerInstitution", arguments, lambda _: self.model.register(sender, *arguments)
        )

    def open(self) -> None:
        sender = HOSPITALS[0] if self.fault("sender") == "sender" else COORDINATOR
        config = self.random.choice(MODELS)
        self.both(
            1, sender, "openRound", (config,), lambda block: self.model.open_round(sender, config, block)
        )

    def submit(self) -> None:
        fault = self.fault("sender", "round", "base", "weight", "less", "over", "all", "deadline", "past")
        sender = OUTSIDER if fault == "sender" else self.random.choice(HOSPITALS)
        number = self.number - (fault == "round")
        base = self.model.rounds[-1].base_model if self.number and fault != "base" else b"z" * 32
        known = {institution.wallet: institution for institution in self.model.institutions}
        weight = known[sender].weight_class if sender in known else 1
        spent = known[sender].epsilon_spent if sender in known else 0
        spends = {"less": max(spent - 1, 0), "all": BUDGET, "over": BUDGET + 1}
        epsilon = spends.get(fault, min(spent + self.random.randint(0, 3), BUDGET))
        arguments = (number, base, *HASHES, weight + (fault == "weight"), epsilon)
        place = (CHAIN_ID, self.contract.address)
        self.both(
            self.seconds_to(fault),
            sender,
            "submitUpdate",
            arguments,
            lambda block: self.model.submit(sender, number, base, HASHES, *arguments[5:], block, place),
        )

    def propose(self) -> None:
        round = self.model.rounds[-1] if self.number else None
        accepted = sorted(round.commitments) if round else []
        if len(accepted) > 2 and self.random.random() < 0.5:
            accepted.remove(self.random.choice(accepted))
        fault = self.fault(
            "sender", "empty", "few", "repeated", "unsubmitted", "overlap", "past", *REFUSAL_FAULTS
        )
        if fault == "repeated":
            accepted = [id for id in accepted for _ in range(2)]
        if fault == "few":
            accepted = accepted[:1]
        refused = self.refusals(accepted, fault)
        if fault == "unsubmitted":
            accepted = list(range(len(self.model.institutions)))
        sender = HOSPITALS[0] if fault == "sender" else COORDINATOR
        model = NO_HASH if fault == "empty" else self.random.choice(MODELS)
        arguments = (self.number, model, accepted, refused, RECORD)
        self.both(
            self.seconds_to(fault),
            sender,
            "proposeAggregate",
            arguments,
            lambda block: self.model.propose(sender, *arguments, block),
        )

    def abandon(self) -> None:
        fault = self.fault("sender", *REFUSAL_FAULTS)
        sender = HOSPITALS[0] if fault == "sender" else COORDINATOR
        arguments = (self.number, self.refusals([], fault))
        self.both(1, sender, "abandonRound", arguments, lambda _: self.model.abandon(sender, *arguments))

    def refusals(self, accepted: list[int], fault: str) -> list[tuple[int, int]]:
        """For each member that is not accepted, spoilt by a fault of REFUSAL_FAULTS."""
        members = self.model.rounds[-1].members if self.number else ()
        refused = [(id, 1 + id) for id in sorted(members) if id not in accepted]
        spoilt = {
            "overlap": sorted(refused + [(id, 1) for id in accepted[-1:]]),
            "no reason": [(id, 0) for id, _ in refused],
            "outsider": [*refused, (len(HOSPITALS), 1)],
            "refused twice": [pair for pair in refused for _ in range(2)],
        }
        return spoilt.get(fault, refused)

    def attest(self) -> None:
        fault = self.fault("sender", "round", "vote", "vote", "checks", "deadline", "past")
        sender = OUTSIDER if fault == "sender" else self.random.choice(HOSPITALS)
        number = max(self.number - (fault == "round"), 0)
        model = b"z" * 32 if fault == "vote" or not number else self.model.rounds[number - 1].new_model
        arguments = (number, model, self.random.randrange(256) if fault == "checks" else REQUIRED_CHECKS)
        self.both(
            self.seconds_to(fault),
            sender,
            "attest",
            arguments,
            lambda block: self.model.attest(sender, *arguments, block),
        )

    def expire(self) -> None:
        moment = self.random.choice(["now", "deadline", "past"])
        number = max(self.number - (self.random.random() < 0.2), 0)
        self.both(
            self.seconds_to(moment),
            OUTSIDER,
            "expireRound",
            (number,),
            lambda block: self.model.expire(number, block),
        )

    def seconds_to(self, fault: str) -> int:
        """From the last block to the last round's last second, to the one after it, or else to the next."""
        left = self.model.rounds[-1].deadline - self.contract.now if self.number else 0
        return left + (fault == "past") if fault in ("deadline", "past") and left > 0 else 1

    def both(
        self,
        seconds: int,
        sender: str,
        action: str,
        arguments: tuple[Any, ...],
        model: Callable[..., list[Emitted]],
    ) -> None:
        """Run one action on both sides and compare what came of it."""
        block = self.contract.next_block(seconds)
        expected: object
        try:
            expected = model(block)
        except ModelRefusal as refused:
            expected = (refused.name, refused.values)
            self.said.append(refused.name)
        else:
            self.said += [name for name, _ in expected]
        found: object
        try:
            found = self.contract.run(sender, action, *arguments)
        except LedgerRefusal as refused:
            found = (refused.name, tuple(refused.values.values()))
        assert found == expected, (action, arguments)
        self.compare_state()

    def compare_state(self) -> None:
        assert self.contract.view("globalModel") == self.model.global_model
        assert self.contract.view("currentRound") == self.number
        for id, institution in enumerate(self.model.institutions):
            assert self.contract.view("institution", id) == tuple(vars(institution).values())
        if self.number:
            self.compare_round()
        finalized = sum(round.phase is Phase.FINALIZED for round in self.model.rounds)
        assert (
            sum(institution.credits for institution in self.model.institutions) <= ROUND_CREDITS * finalized
        )

    def compare_round(self) -> None:
        number, round = self.number, self.model.rounds[-1]
        votes = (round.agreeing, round.disagreeing, round.deadline, round.opened_block)
        hashes = (round.base_model, round.config, round.new_model, round.record)
        state = (int(round.phase), len(round.members), round.quorum, *votes, *hashes)
        assert self.contract.view("round", number) == state
        assert self.contract.view("accepted", number) == round.accepted
        for id in range(len(self.model.institutions)):
            assert self.contract.view("isMember", number, id) == (id in round.members)
            assert self.contract.view("commitment", number, id) == round.commitments.get(id, NO_HASH)
            assert self.contract.view("hasAttested", number, id) == (id in round.attested)


REFUSAL_FAULTS = ("no reason", "outsider", "refused twice")


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
    assert named - said == {"StudyCreated", "InvalidRules"}
