"""The programs that can be a local chain, and how each is started."""

import os
import shutil
from pathlib import Path
from typing import Literal

import fedchest
from fedchest.errors import ChainError
from fedchest.ledger.rpc import LOCAL_CHAIN_ID

Engine = Literal["anvil", "ganache"]

HOST = "127.0.0.1"
# Part of the genesis block, and so of every block hash: changing one of these makes old journals useless.
GENESIS_TIME = 1_700_000_000
_BLOCK_GAS_LIMIT = 1_000_000_000
_NODE_MODULES = Path(fedchest.__file__).resolve().parents[1] / "contracts" / "node_modules"


def anvil(port: int, start: int, *options: str) -> list[str]:
    """The command line of an Anvil at `port` whose clock starts at `start`, seconds since 1970. Raises ChainError."""
    fixed = f"""--host {HOST} --port {port} --chain-id {LOCAL_CHAIN_ID} --hardfork prague
        --timestamp {start} --gas-limit {_BLOCK_GAS_LIMIT} --base-fee 0 --gas-price 0 --accounts 1
        --order fifo --quiet"""
    return [_anvil(), *fixed.split(), *options]


def ganache(port: int, database: Path) -> list[str]:
    """The command line of a Ganache at `port` that keeps its chain in `database`. Raises ChainError."""
    # Berlin, the last version without base fees, lets wallets without a balance transact.
    options = f"""--server.host {HOST} --server.port {port} --chain.chainId {LOCAL_CHAIN_ID}
        --chain.networkId {LOCAL_CHAIN_ID} --chain.hardfork berlin --miner.defaultGasPrice 0
        --miner.blockGasLimit {_BLOCK_GAS_LIMIT} --wallet.totalAccounts 1"""
    return [*_ganache(), *options.split(), "--database.dbPath", str(database)]


def require_program(engine: Engine) -> None:
    """Raise ChainError when the node's program is not installed."""
    if engine == "ganache":
        _ganache()
    else:
        _anvil()


def _anvil() -> str:
    chosen = os.environ.get("FEDCHEST_ANVIL")
    if chosen is not None and shutil.which(chosen) is None:
        raise ChainError(f"FEDCHEST_ANVIL names {chosen}, which is not a program.")
    # The native program rather than the npm package's starter, which would stay beside it as a second
    # process.
    shipped = sorted(_NODE_MODULES.glob("@foundry-rs/anvil-*/bin/anvil"))
    found = chosen or (str(shipped[0]) if shipped else shutil.which("anvil"))
    if found is None:
        raise ChainError(
            "Anvil was not found: run npm install in contracts/, or set FEDCHEST_ANVIL to its path."
        )
    return found


def _ganache() -> list[str]:
    script = _NODE_MODULES / "ganache" / "dist" / "node" / "cli.js"
    node = shutil.which("node")
    if node is None or not script.exists():
        raise ChainError("Ganache was not found: install Node and run npm install in contracts/.")
    return [node, str(script)]
