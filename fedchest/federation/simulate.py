"""The whole job on one machine: prepare, found, run, gather; or go on from where a run stopped."""

from collections.abc import Callable
from pathlib import Path

import torch

from fedchest.errors import StoreError
from fedchest.federation.baselines import local_only_auroc
from fedchest.federation.config import Settings
from fedchest.federation.directory import (
    CONNECTION,
    JOURNAL,
    Connection,
    RunDirectory,
    read_document,
    read_study,
)
from fedchest.federation.engines.processes import threads_each
from fedchest.federation.prepare import prepare
from fedchest.federation.results import Results, collect, read_results, write_models, write_results
from fedchest.federation.rules import refuse_using_validation
from fedchest.federation.run import (
    ENGINES,
    chain_of,
    found_study,
    reconnect,
    recover_chain,
    recover_file,
    require_chain_possible,
)
from fedchest.files import held
from fedchest.ledger.journal import Journal
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.opening import open_ledger
from fedchest.ledger.rebuild import bring_back

Announce = Callable[[str], None]


def simulate(settings: Settings, root: Path, announce: Announce) -> Results:
    """Run a new federation below `root`; `announce` is told each stage. Raises FedChestError."""
    # Rounds are fixed on chain, and a temperature is no part of the model that is attested.
    refuse_using_validation(settings, "in a federation")
    require_chain_possible(settings)
    announce(
        "Preparing: reading and decoding the data, dividing the patients, making keys and the initial model"
    )
    prepared = prepare(settings, root)
    with held(root), chain_of(prepared.directory, settings) as rpc_url:
        announce("Founding the study: creating the ledger, registering the institutions")
        found_study(prepared, settings, rpc_url)
        return _run(prepared.directory, settings, announce)


def resume(root: Path, announce: Announce) -> Results:
    """Go on with the run below `root` from its last finalized round. Raises FedChestError."""
    directory = RunDirectory(root)
    settings = read_document(directory.settings, Settings)
    if not (directory.coordinator / CONNECTION).exists():
        raise StoreError(f"{root} was interrupted before its first round: start a new run.")
    with held(root):
        announce("Rebuilding the ledger from the journals")
        (recover_file if settings.chain.chain == "file" else recover_chain)(directory)
        with chain_of(directory, settings) as rpc_url:
            reconnect(directory, rpc_url)
            if settings.chain.rpc is not None:
                bring_back(rpc_url, Journal(directory.chain / JOURNAL))
            return _run(directory, settings, announce)


def _run(directory: RunDirectory, settings: Settings, announce: Announce) -> Results:
    announce("Training")
    torch.set_num_threads(int(threads_each(settings.run.workers)))
    ENGINES[settings.run.engine](directory, settings)
    connection = read_document(directory.coordinator / CONNECTION, Connection)
    ledger = open_ledger(
        connection.rpc_url,
        connection.contract,
        journal=directory.coordinator / JOURNAL,
        chain_id=connection.chain_id,
        patience=connection.patience_seconds,
        finality_depth=connection.finality_depth,
    )
    local_only = _local_only(directory, settings, ledger, announce) if settings.run.local_baselines else {}
    ledger.sync()
    results = collect(directory, read_study(directory.study), ledger, settings, local_only)
    write_models(directory, results)
    write_results(directory, results)
    return results


def _local_only(
    directory: RunDirectory, settings: Settings, ledger: Ledger, announce: Announce
) -> dict[int, float | None]:
    """The local-only figures; a finished run that is resumed keeps its own, since training again charges again."""
    if directory.results.exists():
        return {i: figures.local_only_auroc for i, figures in enumerate(read_results(directory).institutions)}
    announce("Training each hospital's local-only model, for comparison")
    return local_only_auroc(directory, ledger, workers=settings.run.workers)
