"""Which ledger an address on the net or on the disk stands for: a chain's node, or a file."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from fedchest.ledger.client import LedgerClient, deploy
from fedchest.ledger.file.entry import CHAIN_ID as FILE_CHAIN_ID
from fedchest.ledger.file.ledger import FileLedger, create_file_ledger
from fedchest.ledger.journal import Journal
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.records import Rules
from fedchest.ledger.rpc import LOCAL_CHAIN_ID, connect
from fedchest.ledger.wallet import Wallet


def ledger_file(url: str) -> Path | None:
    """The file that `url` (file://...) names; None for a node's address."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def create_ledger(
    url: str, wallet: Wallet, rules: Rules, *, patience: float = 0.0, finality_depth: int = 0
) -> tuple[int, str]:
    """Create a study's ledger, with `wallet` as its coordinator; the chain's id and the ledger's address.

    `patience` and `finality_depth` are a chain's. Raises LedgerRefusal (InvalidRules), ChainError and StoreError.
    """
    file = ledger_file(url)
    if file is not None:
        return FILE_CHAIN_ID, create_file_ledger(file, wallet, rules)
    chain_id = connect(url, patience).eth.chain_id
    return chain_id, deploy(url, wallet, rules, patience=patience, finality_depth=finality_depth)


def open_ledger(
    url: str,
    address: str,
    wallet: Wallet | None = None,
    journal: Path | None = None,
    *,
    chain_id: int = LOCAL_CHAIN_ID,
    patience: float = 0.0,
    finality_depth: int = 0,
) -> Ledger:
    """The ledger at `address`, with the party's own record in `journal`; the rest is a chain's, as of `LedgerClient`.

    Raises ChainError and StoreError.
    """
    file = ledger_file(url)
    if file is not None:
        return FileLedger(file, address, wallet, journal)
    own = None if journal is None else Journal(journal)
    return LedgerClient(
        url, address, wallet, own, chain_id=chain_id, patience=patience, finality_depth=finality_depth
    )
