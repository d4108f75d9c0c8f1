"""A party's access to the study's ledger, with what lies in its own folder."""

from pathlib import Path

from fedchest.federation.directory import JOURNAL, WALLET, Connection
from fedchest.ledger import opening
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.wallet import Wallet


def open_ledger(folder: Path, connection: Connection) -> Ledger:
    """The pinned ledger, with the folder's wallet and journal. Raises KeyFileError, ChainError and StoreError."""
    return opening.open_ledger(
        connection.rpc_url,
        connection.contract,
        Wallet.load(folder / WALLET),
        folder / JOURNAL,
        chain_id=connection.chain_id,
        patience=connection.patience_seconds,
        finality_depth=connection.finality_depth,
    )
