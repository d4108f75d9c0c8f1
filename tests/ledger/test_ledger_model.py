"""The contract and its Python model, on the same random sequences of actions: same events, refusals and state."""

from collections.abc import Callable
from typing import Any

from contract_driver import CHAIN_ID, ContractDriver
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledger_model import NO_HASH, NO_ONE, ROUND_CREDITS, Emitted, LedgerModel, ModelRefusal

from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.records import REQUIRED_CHECKS, Phase, Rules

SECONDS = 50
BUDGET = 1000
COORDINATOR, *HOSPITALS = (f"0x{number:040x}" for number in range(0xC0, 0xC8))
MODELS = [bytes([letter]) * 32 for letter in b"abc"]
HASHES = (b"s" * 32, b"p" * 32, b"m" * 32)


def mostly(likely: st.SearchStrategy[Any], unlikely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Eight times of nine `likely`, so that sequences get past the first refusal."""
    return st.integers(0, 8).flatmap(lambda choice: unlikely if choice == 8 else likely)


senders = mostly(st.just(COORDINATOR), st.sampled_from(HOSPITALS))
refusals = st.lists(
    st.tuples(st.integers(0, 5), mostly(st.integers(1, 255), st.just(0))),
    max_size=3,
    unique_by=lambda pair: pair[0],
)


class LedgerMachine(RuleBasedStateMachine):
    @initialize(
        cohort=st.sampled_from([0, 0, 2, 3]),
        minimum=st.integers(1, 2),
        crash_only=st.booleans(),
        weights=st.lists(st.integers(1, 9), min_size=3, max_size=5),
    )
    def create(self, cohort: int, minimum: int, crash_only: bool, weights: list[int]) -> None:
        rules = Rules(b"r" * 32, SECONDS, SECONDS, cohort, minimum, crash_only)
        self.model = LedgerModel(rules, COORDINATOR, MODELS[0])
        self.contract = ContractDriver(rules, COORDINATOR, MODELS[0])
        for wallet, weight in zip(HOSPITALS, weights, strict=False):
            self.model.register(COORDINATOR, wallet, weight, BUDGET)
            self.contract.next_block()
            self.contract.run(COORDINATOR, "registerInstitution", wallet, weight, BUDGET)

    @property
    def number(self) -> int:
        return len(self.model.rounds)

    @rule(
        sender=senders,
        wallet=mostly(st.sampled_from(HOSPITALS), st.sampled_from([NO_ONE, COORDINATOR])),
        weight=mostly(st.integers(1, 9), st.just(0)),
    )
    def register(self, sender: str, wallet: str, weight: int) -> None:
        arguments = (wallet, weight, BUDGET)
        self.both(
            1, sender, "registerInstitution", arguments, lambda _: self.model.register(sender, *arguments)
        )

    @rule(sender=senders, config=st.sampled_from(MODELS))
    def open(self, sender: str, config: bytes) -> None:
        self.both(
            1, sender, "openRound", (config,), lambda block: self.model.open_round(sender, config, block)
        )

    @precondition(lambda self: self.model.rounds)
    @rule(
        sender=mostly(st.sampled_from(HOSPITALS[:5]), st.sampled_from([*HOSPITALS, COORDINATOR])),
        back=mostly(st.just(0), st.integers(0, 2)),
        base=mostly(st.none(), st.sampled_from(MODELS)),
        weight=mostly(st.none(), st.integers(1, 9)),
        epsilon=mostly(st.integers(0, 100), st.sampled_from([BUDGET, BUDGET + 1])),
        moment=mostly(st.just("next"), st.sampled_from(["deadline", "past"])),
    )
    def submit(
        self, sender: str, back: int, base: bytes | None, weight: int | None, epsilon: int, moment: str
    ) -> None:
        number = max(self.number - back, 0)
        base = base or self.model.rounds[-1].base_model
        classes = {institution.wallet: institution.weight_class for institution in self.model.institutions}
        spent = {institution.wallet: institution.epsilon_spent for institution in self.model.institutions}
        weight = weight or classes.get(sender, 1)
        # Mostly a growing spend: each submission adds to the last.
        epsilon = epsilon + spent.get(sender, 0) if epsilon % 7 else epsilon
        place = (CHAIN_ID, self.contract.address)
        self.both(
            self.seconds_to(moment),
            sender,
            "submitUpdate",
            (number, base, *HASHES, weight, epsilon),
            lambda block: self.model.submit(sender, number, base, HASHES, weight, epsilon, block, place),
        )

    @precondition(lambda self: self.model.phase(len(self.model.rounds)) is Phase.OPEN)
    @rule(
        sender=senders,
        model=mostly(st.sampled_from(MODELS), st.just(NO_HASH)),
        drop=mostly(st.just(frozenset()), st.frozensets(st.integers(0, 4))),
        odd=mostly(st.none(), st.lists(st.integers(0, 5), max_size=4)),
        refused=refusals,
        clean=st.integers(0, 3),
    )
    def propose(
        self,
        sender: str,
        model: bytes,
        drop: frozenset[int],
        odd: list[int] | None,
        refused: list[tuple[int, int]],
        clean: int,
    ) -> None:
        submitted = sorted(self.model.rounds[-1].commitments.keys() - drop)
        accepted = submitted if odd is None else odd
        if clean:  # mostly refusals that the contract takes
            members = set(self.model.rounds[-1].members)
            refused = sorted(pair for pair in refused if pair[0] in members and pair[0] not in accepted)
        record = b"\7" * 32
        arguments = (self.number, model, accepted, refused, record)
        self.both(
            1,
            sender,
            "proposeAggregate",
            arguments,
            lambda block: self.model.propose(sender, *arguments, block),
        )

    @precondition(lambda self: self.model.rounds)
    @rule(sender=senders, refused=refusals, rarely=st.integers(0, 3))
    def abandon(self, sender: str, refused: list[tuple[int, int]], rarely: int) -> None:
        if rarely == 0:
            arguments = (self.number, sorted(refused))
            self.both(1, sender, "abandonRound", arguments, lambda _: self.model.abandon(sender, *arguments))

    @precondition(lambda self: self.model.rounds)
    @rule(
        senders=st.lists(st.sampled_from(HOSPITALS[:5]), min_size=1, max_size=5, unique=True),
        back=mostly(st.just(0), st.integers(0, 2)),
        vote=mostly(st.none(), st.sampled_from(MODELS)),
        checks=mostly(st.just(REQUIRED_CHECKS), st.integers(0, 255)),
        moment=mostly(st.just("next"), st.sampled_from(["deadline", "past"])),
    )
    def attest(self, senders: list[str], back: int, vote: bytes | None, checks: int, moment: str) -> None:
        number = max(self.number - back, 0)
        vote = vote or self.model.rounds[-1].new_model
        for sender in senders:
            self.both(
                self.seconds_to(moment),
                sender,
                "attest",
                (number, vote, checks),
                lambda block, sender=sender: self.model.attest(sender, number, vote, checks, block),
            )

    @precondition(lambda self: self.model.rounds)
    @rule(back=mostly(st.just(0), st.integers(0, 2)), moment=st.sampled_from(["next", "deadline", "past"]))
    def expire(self, back: int, moment: str) -> None:
        number = max(self.number - back, 0)
        arguments = (number,)
        self.both(
            self.seconds_to(moment),
            HOSPITALS[6],
            "expireRound",
            arguments,
            lambda block: self.model.expire(number, block),
        )

    def seconds_to(self, moment: str) -> int:
        """From the last block to the next second, the live round's last second, or the one after it."""
        left = self.model.rounds[-1].deadline - self.contract.now
        return 1 if moment == "next" or left < 1 else left + (moment == "past")

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
        found: object
        try:
            found = self.contract.run(sender, action, *arguments)
        except LedgerRefusal as refused:
            found = (refused.name, tuple(refused.values.values()))
        assert found == expected

    @invariant()
    def same_state(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.contract.view("globalModel") == self.model.global_model
        assert self.contract.view("currentRound") == self.number
        for id, institution in enumerate(self.model.institutions):
            assert self.contract.view("institution", id) == tuple(vars(institution).values())
        if self.model.rounds:
            self.same_round()
        finalized = sum(round.phase is Phase.FINALIZED for round in self.model.rounds)
        assert (
            sum(institution.credits for institution in self.model.institutions) <= ROUND_CREDITS * finalized
        )

    def same_round(self) -> None:
        number, round = self.number, self.model.rounds[-1]
        votes = (round.agreeing, round.disagreeing, round.deadline, round.opened_block)
        hashes = (round.base_model, round.config, round.new_model, round.record)
        state = (int(round.phase), len(round.members), round.quorum, *votes, *hashes)
        assert self.contract.view("round", number) == state
        assert tuple(self.contract.view("accepted", number)) == round.accepted
        for id in range(len(self.model.institutions)):
            assert self.contract.view("isMember", number, id) == (id in round.members)
            assert self.contract.view("commitment", number, id) == round.commitments.get(id, NO_HASH)
            assert self.contract.view("hasAttested", number, id) == (id in round.attested)


def test_random_sequences_agree_with_the_model() -> None:
    effort = settings(
        max_examples=150,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(LedgerMachine, settings=effort)
