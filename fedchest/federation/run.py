"""Running a prepared directory: start the chain, deploy or find the contract, run the rounds, stop the chain."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from fedchest.accounting.prv import micro
from fedchest.federation.config import Settings
from fedchest.federation.directory import (
    CONNECTION,
    JOURNAL,
    LEDGER,
    WALLET,
    Connection,
    RunDirectory,
    read_document,
    write_document,
)
from fedchest.federation.engines.deployment import run_deployed
from fedchest.federation.engines.in_process import run_in_process
from fedchest.federation.engines.simulation import run_in_simulation
from fedchest.federation.initial import InitialModel
from fedchest.federation.party import open_ledger
from fedchest.federation.prepare import PreparedRun
from fedchest.federation.software import software_digest
from fedchest.files import write_atomically
from fedchest.ledger.chain import LocalChain, require_free_port
from fedchest.ledger.hashes import roster_hash
from fedchest.ledger.journal import Journal
from fedchest.ledger.keeper import kept_running
from fedchest.ledger.opening import create_ledger
from fedchest.ledger.programs import require_program
from fedchest.ledger.records import Rules
from fedchest.ledger.rpc import connect as connect_rpc
from fedchest.ledger.wallet import Wallet

Engine = Callable[[RunDirectory, Settings], None]

_STARTING_SECONDS = 600.0


def _longest(settings: Settings) -> float:
    """Seconds after which even the slowest run that keeps the chain's deadlines has ended."""
    chain = settings.chain
    a_round = 2 * max(chain.submission_seconds, chain.attestation_seconds)
    return settings.training.rounds * a_round + _STARTING_SECONDS


ENGINES: dict[str, Engine] = {
    "in-process": lambda directory, settings: run_in_process(directory, workers=settings.run.workers),
    "simulation": lambda directory, settings: run_in_simulation(
        directory, workers=settings.run.workers, seconds=_longest(settings)
    ),
    "deployment": lambda directory, settings: run_deployed(directory, seconds=_longest(settings)),
}


def require_chain_possible(settings: Settings) -> None:
    """Raise ChainError, before any work, for an address that does not answer or a port that is taken."""
    if settings.chain.rpc is not None:
        connect_rpc(settings.chain.rpc)
        return
    if settings.chain.chain == "file":
        return
    require_program(settings.chain.chain)
    if settings.chain.chain_port is not None:
        require_free_port(settings.chain.chain_port)


@contextmanager
def chain_of(directory: RunDirectory, settings: Settings) -> Iterator[str]:
    """Where the run's ledger is: at the chain that the settings name, in a file, or at a local chain of the block's."""
    if settings.chain.rpc is not None:
        yield settings.chain.rpc
        return
    if settings.chain.chain == "file":
        yield (directory.chain / LEDGER).absolute().as_uri()
        return
    with LocalChain(directory.chain, engine=settings.chain.chain, port=settings.chain.chain_port) as chain:
        if settings.chain.patience_seconds == 0:
            yield chain.rpc_url
            return
        with kept_running(chain, lambda: recover_chain(directory)):
            yield chain.rpc_url


def found_study(prepared: PreparedRun, settings: Settings, rpc_url: str) -> None:
    """Create the ledger, register the founders, let them approve the first model, write every party's connection."""
    directory, study = prepared.directory, prepared.study
    wallet = Wallet.load(directory.coordinator / WALLET)
    chain = settings.chain
    budget = micro(settings.privacy.budget or settings.privacy.epsilon)
    rules = Rules(
        study=study.digest(),
        app=software_digest(),
        founders=len(prepared.weight_classes),
        submission_seconds=chain.submission_seconds,
        attestation_seconds=chain.attestation_seconds,
        cohort_size=chain.cohort_size,
        minimum_accepted=chain.minimum_accepted,
        crash_only=chain.crash_only,
        by_contribution=study.rewards is not None,
        norm_bound=min(math.ceil(study.norm_bound * 1e6), 2**64 - 1),
        epsilon_budget=budget,
    )
    chain_id, address = create_ledger(
        rpc_url, wallet, rules, patience=chain.patience_seconds, finality_depth=chain.finality_depth
    )
    connection = Connection(
        rpc_url=rpc_url,
        chain_id=chain_id,
        contract=address,
        patience_seconds=chain.patience_seconds,
        finality_depth=chain.finality_depth,
    )
    ledger = open_ledger(directory.coordinator, connection)
    wallets = [Wallet.load(folder / WALLET).address for folder in directory.institutions()]
    weighted = zip(wallets, prepared.weight_classes, strict=True)
    founders = [(wallet, weight_class, budget) for wallet, weight_class in weighted]
    for founder in founders:
        ledger.register_founder(*founder)
    _approve(directory, prepared.initial, roster_hash(founders), connection)
    ledger.sync()
    connect(directory, connection)


def _approve(directory: RunDirectory, initial: InitialModel, roster: bytes, connection: Connection) -> None:
    """Each institution approves the first model and the founders, until their quorum has."""
    model, provenance = sha256(initial.model).digest(), sha256(initial.provenance).digest()
    for folder in directory.institutions():
        institution = open_ledger(folder, connection)
        if institution.initial_model() == model:
            return
        institution.approve_initial_model(model, provenance, roster)


def recover_chain(directory: RunDirectory) -> None:
    """Give the local chain the longest of the parties' journals: it may have been killed behind them.

    A longer journal continues a shorter one; if it did not, that party would refuse the rebuilt chain.
    """
    own = Journal(directory.chain / JOURNAL)
    longest = max(
        (Journal(folder / JOURNAL) for folder in directory.parties()), key=lambda j: len(j.records())
    )
    if len(longest.records()) > len(own.records()):
        write_atomically(own.path, longest.path.read_bytes())


def recover_file(directory: RunDirectory) -> None:
    """Give the run's ledger file back what a party's copy has more of; a party with another copy would refuse it."""
    own = directory.chain / LEDGER
    longest = max((folder / JOURNAL for folder in directory.parties()), key=_entries)
    if _entries(longest) > _entries(own):
        write_atomically(own, longest.read_bytes())


def _entries(ledger: Path) -> int:
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def reconnect(directory: RunDirectory, rpc_url: str) -> None:
    """Point every party at the chain's present address; chain id and contract stay those that were pinned."""
    pinned = read_document(directory.coordinator / CONNECTION, Connection)
    connect(directory, pinned.model_copy(update={"rpc_url": rpc_url}))


def connect(directory: RunDirectory, connection: Connection) -> None:
    """Write the connection into every party's folder."""
    for folder in directory.parties():
        write_document(folder / CONNECTION, connection)
