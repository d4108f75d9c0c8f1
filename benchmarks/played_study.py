"""A study played on a real ledger, in which every institution takes part in every round: for benchmarks to measure."""

import hashlib
from dataclasses import replace
from pathlib import Path

from fedchest.ledger.hashes import proposal_hash, roster_hash
from fedchest.ledger.opening import create_ledger, open_ledger
from fedchest.ledger.records import REQUIRED_CHECKS, Attestation, Proposal, Rules, UpdateCommitment
from fedchest.ledger.wallet import Wallet

RULES = Rules(b"c" * 32, b"a" * 32, 1, 600, 600, 0, 2, False, False, 10**6, 10**9)
INITIAL, PROVENANCE = b"i" * 32, b"v" * 32


class Study:
    """Institutions that take part in every round of a study on the ledger at `url`, a node's address or a file's."""

    def __init__(self, url: str, folder: Path, size: int) -> None:
        wallet = Wallet.create(folder / "coordinator.key")
        chain_id, address = create_ledger(url, wallet, replace(RULES, founders=size))
        self.coordinator = open_ledger(url, address, wallet, chain_id=chain_id)
        wallets = [Wallet.create(folder / f"{number}.key") for number in range(size)]
        for one in wallets:
            self.coordinator.register_founder(one.address, 1, 10**9)
        self.sites = [open_ledger(url, address, one, chain_id=chain_id) for one in wallets]
        roster = roster_hash([(one.address, 1, 10**9) for one in wallets])
        for site in self.sites[: 2 * size // 3 + 1]:
            site.approve_initial_model(INITIAL, PROVENANCE, roster)

    def play_round(self) -> dict[str, int]:
        """Play one; the gas of its kinds of transaction, of the dearest where they differ."""
        base = self.coordinator.global_model()
        number = self.coordinator.open_round(RULES.study)
        (opened,) = [e for e in self.coordinator.events() if e.name == "RoundOpened" and e.round == number]
        submitted = [
            site.submit_update(
                UpdateCommitment(number, id, base, b"s" * 32, b"p" * 32, b"m" * 32, 1, number)
            ).gas
            for id, site in enumerate(self.sites)
        ]
        model = hashlib.sha256(base).digest()
        proposal = Proposal(model, b"r" * 32, b"q" * 32, bytes(24), b"t" * 32)
        proposed = self.coordinator.propose(number, proposal, range(len(self.sites)), (), {}).gas
        accepted = range(len(self.sites))
        attestation = Attestation(
            proposal_hash(proposal, accepted), model, bytes(24), bytes(24), REQUIRED_CHECKS
        )
        attested = [site.attest(number, attestation).gas for site in self.sites]
        return {
            "open": opened.gas,
            "submit": max(submitted[1:]),
            "submit, first of the round": submitted[0],
            "propose": proposed,
            "attest": max(attested[1:-1], default=attested[0]),
            "finalize": attested[-1],
        }
