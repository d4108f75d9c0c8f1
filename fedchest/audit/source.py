"""Where the audit's chain comes from: rebuilt from a journal, or a node that answers."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from fedchest.audit.journals import PartyJournal, read_copies, read_journals
from fedchest.errors import ChainError, ConfigError, StoreError, TamperError
from fedchest.federation.directory import CONNECTION, LEDGER, Connection, RunDirectory, read_document
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.file.replay import replayed
from fedchest.ledger.journal import BlockRecord, block_records
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.opening import open_ledger
from fedchest.ledger.rpc import connect

_GANACHE_DATABASE = "ganache"


class _ChainSettings(BaseModel):
    chain: str
    rpc: str | None


class _RunSettings(BaseModel):
    """What the audit needs of a run's settings; the rest may be of another version's form."""

    chain: _ChainSettings


@dataclass(frozen=True)
class Source:
    """The chain that a run is compared with.

    `rpc_url` is where the ledger is read (file://... for a file), None when no journal gives one. `blocks` are the
    chain's blocks from 1 on, or a file's entries, `unreproducible` maps the names of journals that could not be
    rebuilt to the reason.
    """

    rpc_url: str | None
    origin: str
    journals: Sequence[PartyJournal]
    blocks: Sequence[BlockRecord]
    unreproducible: dict[str, str]


def chain_source(directory: RunDirectory, rpc_url: str | None = None) -> AbstractContextManager[Source]:
    """The chain of a run, for as long as the context lasts; nothing is written into the run.

    With `rpc_url` the node there is read. Without it the longest journal that reproduces its block hashes is
    rebuilt in a temporary node; a chain kept by Ganache, which can't be rebuilt, is opened from a copy.
    A ledger that is a file is read from the longest copy whose entries hold.
    Raises StoreError when `directory` is no run, ConfigError when the run's chain was not a local one,
    ChainError when a node does not answer or start.
    """
    if not directory.root.is_dir():
        raise StoreError(f"{directory.root} does not exist: it should be a run directory.")
    if rpc_url is not None:
        if (directory.chain / LEDGER).exists():
            raise ConfigError(f"{directory.root}: the run's ledger is a file; leave --rpc out.")
        return _answering(rpc_url, f"the node at {rpc_url}", read_journals(directory))
    chain = read_document(directory.settings, _RunSettings).chain
    if chain.chain == "file":
        return _reread(read_copies(directory))
    journals = read_journals(directory)
    if chain.rpc is not None:
        raise ConfigError(
            f"The run used a chain of its own: give its address with --rpc (it was {chain.rpc})."
        )
    if chain.chain == "ganache":
        return _copied_database(directory.chain / _GANACHE_DATABASE, journals)
    return _rebuilt(journals)


@contextmanager
def run_contract(directory: RunDirectory, rpc_url: str | None = None) -> Iterator[LedgerClient]:
    """As `run_ledger`, where there has to be a chain. Raises ConfigError for a run whose ledger is a file."""
    with run_ledger(directory, rpc_url) as ledger:
        if not isinstance(ledger, LedgerClient):
            raise ConfigError(
                f"{directory.root}: the run's ledger is a file, which has no block headers to prove from. "
                "Whoever is to check needs the file itself."
            )
        yield ledger


@contextmanager
def run_ledger(directory: RunDirectory, rpc_url: str | None = None) -> Iterator[Ledger]:
    """The contract that the run's auditor pins, on the run's chain, for as long as the context lasts.

    Raises as `chain_source`, and ChainError when no journal gives a chain or the chain is not the pinned one.
    """
    with chain_source(directory, rpc_url) as source:
        if source.rpc_url is None:
            raise ChainError(
                f"No journal below {directory.root} gives a chain; fedchest audit verify says why."
            )
        pinned = read_document(directory.auditor / CONNECTION, Connection)
        yield open_ledger(source.rpc_url, pinned.contract, chain_id=pinned.chain_id)


@contextmanager
def _answering(rpc_url: str, origin: str, journals: Sequence[PartyJournal]) -> Iterator[Source]:
    yield _read(rpc_url, origin, journals, {})


@contextmanager
def _copied_database(database: Path, journals: Sequence[PartyJournal]) -> Iterator[Source]:
    if not database.is_dir():
        raise StoreError(f"{database} does not exist: it should hold the chain's database.")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(database, Path(folder) / _GANACHE_DATABASE)
        with (
            LocalChain(Path(folder), engine="ganache") as chain,
            _answering(chain.rpc_url, "a copy of the chain's database, not rebuilt", journals) as source,
        ):
            yield source


@contextmanager
def _rebuilt(journals: Sequence[PartyJournal]) -> Iterator[Source]:
    _require_local_chain()
    failures: dict[str, str] = {}
    for journal in sorted(journals, key=lambda journal: journal.height, reverse=True):
        if journal.height == 0:
            break
        with tempfile.TemporaryDirectory() as folder:
            chain = LocalChain(Path(folder))
            chain.journal.path.write_bytes(b"".join(record.to_line() for record in journal.records))
            try:
                chain.start()
            except ChainError as error:
                failures[journal.name] = str(error).rstrip(".")
                continue
            with chain:
                yield _read(chain.rpc_url, f"rebuilt from {journal.name}", journals, failures)
            return
    yield Source(None, "none: no journal gives one", journals, (), failures)


@contextmanager
def _reread(copies: Sequence[PartyJournal]) -> Iterator[Source]:
    failures: dict[str, str] = {}
    for copy in sorted(copies, key=lambda copy: copy.height, reverse=True):
        if copy.height == 0:
            break
        lines = [line for record in copy.records for line in record.transactions]
        try:
            replayed((line.removesuffix(b"\n") for line in lines), time.time())
        except TamperError as error:
            failures[copy.name] = str(error).rstrip(".")
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / LEDGER
            file.write_bytes(b"".join(lines))
            yield Source(file.as_uri(), f"reread from {copy.name}", copies, copy.records, failures)
        return
    yield Source(None, "none: no copy of the ledger gives one", copies, (), failures)


def _read(
    rpc_url: str, origin: str, journals: Sequence[PartyJournal], unreproducible: dict[str, str]
) -> Source:
    """The blocks come from the node, not from a journal: what a journal says of them is still to be compared."""
    w3 = connect(rpc_url)
    height = min(w3.eth.block_number, max(journal.height for journal in journals))
    return Source(rpc_url, origin, journals, block_records(w3, range(1, height + 1)), unreproducible)


def _require_local_chain() -> None:
    """Start an empty node, so that a failure to start one is not mistaken for a journal's. Raises ChainError."""
    with tempfile.TemporaryDirectory() as folder, LocalChain(Path(folder)):
        pass
