"""A small study on a running chain, for tests to play rounds in."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedchest.aggregation.fingerprint import NOTHING, combined
from fedchest.ledger.client import LedgerClient, deploy
from fedchest.ledger.hashes import roster_hash
from fedchest.ledger.journal import Journal
from fedchest.ledger.records import (
    REQUIRED_CHECKS,
    Attestation,
    Proposal,
    Receipt,
    Rules,
    Status,
    UpdateCommitment,
)
from fedchest.ledger.wallet import Wallet

INITIAL_MODEL, NEW_MODEL, CONFIG, RECORD, PROVENANCE = (bytes([letter]) * 32 for letter in b"indrv")
HASHES = (b"s" * 32, b"p" * 32, b"m" * 32)
WEIGHT, BUDGET = 3, 8_000_000
SUM_HASH, ROOT = b"q" * 32, b"t" * 32
RULES = Rules(
    study=CONFIG,
    app=b"a" * 32,
    founders=4,
    submission_seconds=600,
    attestation_seconds=600,
    cohort_size=0,
    minimum_accepted=2,
    crash_only=False,
    by_contribution=False,
    norm_bound=1_000_000,
    epsilon_budget=BUDGET,
)


def share(institution: int) -> bytes:
    """What an institution answers as its update's fingerprint."""
    return bytes(15) + bytes([institution + 1]) + (2**61 - 2).to_bytes(8)


def gathered(accepted: Sequence[int]) -> bytes:
    """The fingerprint of the sum of those institutions' updates."""
    total = NOTHING
    for institution in accepted:
        total = combined(total, share(institution), WEIGHT)
    return total


class StudyOnChain:
    """A deployed ledger, its coordinator's client and one client for each registered institution."""

    def __init__(
        self,
        rpc_url: str,
        folder: Path,
        *,
        size: int = 4,
        journal: Journal | None = None,
        founded: bool = True,
        wallet: Wallet | None = None,
        finality_depth: int = 0,
        patience: float = 0.0,
        **rules: Any,
    ) -> None:
        self.rpc_url = rpc_url
        self.wallet = wallet or Wallet.create(folder / "coordinator.key")
        self.rules = replace(RULES, **{"founders": max(size, 1)} | rules)
        depth = finality_depth
        self.address = deploy(rpc_url, self.wallet, self.rules, finality_depth=depth)
        self.coordinator = LedgerClient(
            rpc_url, self.address, self.wallet, journal, patience=patience, finality_depth=depth
        )
        self.wallets = [Wallet.create(folder / f"institution{number}.key") for number in range(size)]
        for wallet in self.wallets:
            self.coordinator.register_founder(wallet.address, WEIGHT, BUDGET)
        self.institutions = [
            LedgerClient(rpc_url, self.address, wallet, patience=patience) for wallet in self.wallets
        ]
        if founded:
            self.decide(
                lambda institution: institution.approve_initial_model(INITIAL_MODEL, PROVENANCE, self.roster)
            )
            self.coordinator.sync()

    @property
    def roster(self) -> bytes:
        """What founders approve beside the first model."""
        return roster_hash([(wallet.address, WEIGHT, BUDGET) for wallet in self.wallets])

    def decide(self, support: Callable[[LedgerClient], object]) -> None:
        """Let as many institutions as the quorum needs support a decision, the first ones first."""
        active = [one for one in self.coordinator.institutions() if one.status is Status.ACTIVE]
        quorum = len(active) // 2 + 1 if self.rules.crash_only else 2 * len(active) // 3 + 1
        for institution in active[:quorum]:
            support(self.institutions[institution.id])

    def submit(self, institution: int, round: int, **changes: Any) -> Receipt:
        """Submit as the institution; `changes` replace arguments of an acceptable submission."""
        return self.institutions[institution].submit_update(self.update(institution, round, **changes))

    def update(self, institution: int, round: int, **changes: Any) -> UpdateCommitment:
        """An acceptable commitment to an update; `changes` replace parts of it."""
        base = self.coordinator.global_model()
        usual = UpdateCommitment(round, institution, base, *HASHES, WEIGHT, 1_000_000 * round)
        return replace(usual, **changes)

    def propose(self, round: int, **changes: Any) -> Receipt:
        """Propose a new model from institutions 0 and 1; `changes` as in `submit`."""
        accepted = changes.pop("accepted", [0, 1])
        refusals = changes.pop("refusals", {})
        scores = changes.pop("scores", ())
        usual = Proposal(NEW_MODEL, RECORD, SUM_HASH, gathered(accepted), ROOT)
        return self.coordinator.propose(round, replace(usual, **changes), accepted, scores, refusals)

    def attest(self, institution: int, round: int, **changes: Any) -> Receipt:
        """Attest as the institution, in agreement; `changes` replace parts of the attestation."""
        state = self.coordinator.round(round)
        usual = Attestation(
            state.proposal, state.new_model, state.fingerprint, share(institution), REQUIRED_CHECKS
        )
        return self.institutions[institution].attest(round, replace(usual, **changes))

    def answer_for(self, voucher: int, round: int, silent: int, **changes: Any) -> Receipt:
        """Vouch for a silent institution's share; `changes` replace the proposal that it belongs to, or the share."""
        usual = {"proposal": self.coordinator.round(round).proposal, "share": share(silent)}
        return self.institutions[voucher].answer_for(round, silent, **usual | changes)

    def proposed_round(self) -> int:
        """Open a round and take it as far as a proposal."""
        round = self.coordinator.open_round(CONFIG)
        self.submit(0, round)
        self.submit(1, round)
        self.propose(round)
        return round

    def finalized_round(self) -> int:
        """Play a round to its end."""
        round = self.proposed_round()
        for institution in range(3):
            self.attest(institution, round)
        return round
