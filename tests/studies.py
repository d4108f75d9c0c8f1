"""A small study on a running chain, for tests to play rounds in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from fedchest.ledger.client import LedgerClient, deploy
from fedchest.ledger.journal import Journal
from fedchest.ledger.records import REQUIRED_CHECKS, Receipt, Rules
from fedchest.ledger.wallet import Wallet

INITIAL_MODEL, NEW_MODEL, CONFIG, RECORD = (bytes([letter]) * 32 for letter in b"incr")
HASHES = (b"s" * 32, b"p" * 32, b"m" * 32)
WEIGHT, BUDGET = 3, 8_000_000
RULES = Rules(
    study=b"d" * 32,
    submission_seconds=600,
    attestation_seconds=600,
    cohort_size=0,
    minimum_accepted=2,
    crash_only=False,
)


class StudyOnChain:
    """A deployed ledger, its coordinator's client and one client for each registered institution."""

    def __init__(
        self,
        rpc_url: str,
        folder: Path,
        *,
        size: int = 4,
        journal: Journal | None = None,
        wallet: Wallet | None = None,
        finality_depth: int = 0,
        patience: float = 0.0,
        **rules: Any,
    ) -> None:
        self.rpc_url = rpc_url
        self.wallet = wallet or Wallet.create(folder / "coordinator.key")
        self.rules = replace(RULES, **rules)
        depth = finality_depth
        self.address = deploy(
            rpc_url, self.wallet, self.rules, INITIAL_MODEL, b"v" * 32, finality_depth=depth
        )
        self.coordinator = LedgerClient(
            rpc_url, self.address, self.wallet, journal, patience=patience, finality_depth=depth
        )
        self.wallets = [Wallet.create(folder / f"institution{number}.key") for number in range(size)]
        for wallet in self.wallets:
            self.coordinator.register_institution(wallet.address, WEIGHT, BUDGET)
        self.institutions = [
            LedgerClient(rpc_url, self.address, wallet, patience=patience) for wallet in self.wallets
        ]

    def submit(self, institution: int, round: int, **changes: Any) -> Receipt:
        """Submit as the institution; `changes` replace arguments of an acceptable submission."""
        sealed, plaintext, manifest = HASHES
        arguments: dict[str, Any] = {
            "round": round,
            "base_model": self.coordinator.global_model(),
            "sealed_hash": sealed,
            "plaintext_hash": plaintext,
            "manifest_hash": manifest,
            "weight_class": WEIGHT,
            "epsilon": 1_000_000 * round,
        }
        return self.institutions[institution].submit_update(**arguments | changes)

    def propose(self, round: int, **changes: Any) -> Receipt:
        """Propose a new model from institutions 0 and 1; `changes` as in `submit`."""
        arguments: dict[str, Any] = {
            "new_model": NEW_MODEL,
            "accepted": [0, 1],
            "refusals": {},
            "record": RECORD,
        }
        return self.coordinator.propose(round, **arguments | changes)

    def attest(self, institution: int, round: int, model: bytes = NEW_MODEL) -> Receipt:
        """Attest as the institution, with every check passed."""
        return self.institutions[institution].attest(round, model, REQUIRED_CHECKS)

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
