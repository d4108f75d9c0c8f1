"""A small study on a running chain or in a file, for tests to play rounds in."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from fedchest.aggregation.fingerprint import NOTHING, combined
from fedchest.ledger.client import LedgerClient, deploy
from fedchest.ledger.file.ledger import FileLedger, create_file_ledger
from fedchest.ledger.hashes import roster_hash
from fedchest.ledger.journal import Journal
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.records import (
    REQUIRED_CHECKS,
    Attestation,
    Proposal,
    Receipt,
    Rules,
    Status,
    UpdateCommitment,
)
from fedchest.ledger.rpc import command, connect
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


_Kind = TypeVar("_Kind", bound=Ledger)


class Study(ABC, Generic[_Kind]):
    """A ledger, its coordinator's access and one for each registered institution."""

    def __init__(
        self, folder: Path, *, size: int = 4, founded: bool = True, wallet: Wallet | None = None, **rules: Any
    ) -> None:
        self.wallet = wallet or Wallet.create(folder / "coordinator.key")
        self.rules = replace(RULES, **{"founders": max(size, 1)} | rules)
        self.address = self.create()
        self.coordinator = self.coordinators_access()
        self.wallets = [Wallet.create(folder / f"institution{number}.key") for number in range(size)]
        for wallet in self.wallets:
            self.coordinator.register_founder(wallet.address, WEIGHT, BUDGET)
        self.institutions = [self.open(wallet) for wallet in self.wallets]
        if founded:
            self.decide(
                lambda institution: institution.approve_initial_model(INITIAL_MODEL, PROVENANCE, self.roster)
            )
            self.coordinator.sync()

    @abstractmethod
    def create(self) -> str:
        """Begin the ledger; its address."""

    @abstractmethod
    def open(self, wallet: Wallet | None = None) -> _Kind:
        """Somebody's access to it."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the ledger is, for another process."""

    @abstractmethod
    def advance(self, seconds: int) -> None:
        """Let the ledger's time pass."""

    def coordinators_access(self) -> _Kind:
        return self.open(self.wallet)

    @property
    def roster(self) -> bytes:
        """What founders approve beside the first model."""
        return roster_hash([(wallet.address, WEIGHT, BUDGET) for wallet in self.wallets])

    def decide(self, support: Callable[[_Kind], object]) -> None:
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


class StudyOnChain(Study[LedgerClient]):
    """A study whose contract is on a running chain."""

    def __init__(
        self,
        rpc_url: str,
        folder: Path,
        *,
        journal: Journal | None = None,
        finality_depth: int = 0,
        patience: float = 0.0,
        **options: Any,
    ) -> None:
        self.rpc_url = rpc_url
        self._journal = journal
        self._depth = finality_depth
        self._patience = patience
        super().__init__(folder, **options)

    @property
    def url(self) -> str:
        return self.rpc_url

    def create(self) -> str:
        return deploy(self.rpc_url, self.wallet, self.rules, finality_depth=self._depth)

    def open(self, wallet: Wallet | None = None) -> LedgerClient:
        return LedgerClient(self.rpc_url, self.address, wallet, patience=self._patience)

    def coordinators_access(self) -> LedgerClient:
        return LedgerClient(
            self.rpc_url,
            self.address,
            self.wallet,
            self._journal,
            patience=self._patience,
            finality_depth=self._depth,
        )

    def advance(self, seconds: int) -> None:
        w3 = connect(self.rpc_url)
        command(w3, "evm_increaseTime", seconds)
        command(w3, "evm_mine")


class StudyInFile(Study[FileLedger]):
    """A study in a file below `folder`, by a clock that a test can put forward."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "ledger.jsonl"
        self._ahead = 0
        super().__init__(folder, **options)

    def now(self) -> float:
        return time.time() + self._ahead

    @property
    def url(self) -> str:
        return self.path.as_uri()

    def create(self) -> str:
        return create_file_ledger(self.path, self.wallet, self.rules, clock=self.now)

    def open(self, wallet: Wallet | None = None, journal: Path | None = None) -> FileLedger:
        return FileLedger(self.path, self.address, wallet, journal, clock=self.now)

    def advance(self, seconds: int) -> None:
        self._ahead += seconds


MakeStudy = Callable[..., Study[Any]]
