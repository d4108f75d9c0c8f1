"""A party's access to the study's ledger, with what lies in its own folder."""

from pathlib import Path

from fedchest.federation.directory import JOURNAL, WALLET, Connection
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.journal import Journal
from fedchest.ledger.wallet import Wallet


def open_ledger(folder: Path, connection: Connection) -> LedgerClient:
    """The pinned ledger, with the folder's wallet and journal. Raises KeyFileError and ChainError."""
    return LedgerClient(
        connection.rpc_url,
        connection.contract,
        wallet=Wallet.load(folder / WALLET),
        journal=Journal(folder / JOURNAL),
        chain_id=connection.chain_id,
        patience=connection.patience_seconds,
        finality_depth=connection.finality_depth,
    )
