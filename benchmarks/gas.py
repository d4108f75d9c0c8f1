"""Gas and wall time of a round against the number of institutions, on Anvil: what each party's transactions use.

The baseline is a transaction that does nothing, 21,000 gas; of the times, sending as many of those.
"""

import hashlib
import tempfile
import time
from pathlib import Path

from benchmarks.report import Case, run
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient, deploy
from fedchest.ledger.records import REQUIRED_CHECKS, Attestation, Proposal, Rules, UpdateCommitment
from fedchest.ledger.wallet import Wallet

SIZES = (2, 4, 16, 64, 256)
NOTHING = 21_000
RULES = Rules(b"c" * 32, b"a" * 32, 600, 600, 0, 2, False, 10**6, 10**9)
INITIAL, PROVENANCE = b"i" * 32, b"v" * 32


class Study:
    """Institutions that take part in every round of a study on a chain of their own."""

    def __init__(self, rpc_url: str, folder: Path, size: int) -> None:
        wallet = Wallet.create(folder / "coordinator.key")
        address = deploy(rpc_url, wallet, RULES)
        self.coordinator = LedgerClient(rpc_url, address, wallet)
        wallets = [Wallet.create(folder / f"{number}.key") for number in range(size)]
        for one in wallets:
            self.coordinator.register_founder(one.address, 1, 10**9)
        self.sites = [LedgerClient(rpc_url, address, one) for one in wallets]
        for site in self.sites[: 2 * size // 3 + 1]:
            site.approve_initial_model(INITIAL, PROVENANCE)

    def round(self) -> dict[str, int]:
        """Play one; the gas of its kinds of transaction, of the dearest where they differ."""
        base = self.coordinator.global_model()
        number = self.coordinator.open_round(RULES.study)
        submitted = [
            site.submit_update(
                UpdateCommitment(number, id, base, b"s" * 32, b"p" * 32, b"m" * 32, 1, number)
            ).gas
            for id, site in enumerate(self.sites)
        ]
        model = hashlib.sha256(base).digest()
        proposal = Proposal(model, b"r" * 32, b"q" * 32, bytes(24))
        proposed = self.coordinator.propose(number, proposal, range(len(self.sites)), {}).gas
        attestation = Attestation(model, bytes(24), bytes(24), REQUIRED_CHECKS)
        attested = [site.attest(number, attestation).gas for site in self.sites]
        return {
            "submit": max(submitted[1:]),
            "submit, first of the round": submitted[0],
            "propose": proposed,
            "attest": max(attested[1:-1], default=attested[0]),
            "finalize": attested[-1],
        }


def measure() -> list[Case]:
    """Each kind of transaction by number of institutions, in a study's second round, and seconds of the third."""
    return [case for size in SIZES for case in _of(size)]


def _of(size: int) -> list[Case]:
    with tempfile.TemporaryDirectory() as folder, LocalChain(Path(folder) / "chain") as chain:
        study = Study(chain.rpc_url, Path(folder), size)
        study.round()
        gas = study.round()
        start = time.perf_counter()
        study.round()
        seconds = time.perf_counter() - start
    return [
        *(Case(f"{kind}/{size}", "gas", amount, NOTHING) for kind, amount in gas.items()),
        Case(f"round/{size}", "s", seconds, None),
    ]


if __name__ == "__main__":
    run("gas", measure)
