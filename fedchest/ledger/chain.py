"""A local chain as a child process: started, rebuilt from its journal, and stopped with its owner."""

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Literal

from web3 import Web3

import fedchest
from fedchest.errors import ChainError
from fedchest.ledger.journal import Journal, rebuild
from fedchest.ledger.rpc import LOCAL_CHAIN_ID, command, connect

Engine = Literal["anvil", "ganache"]

_HOST = "127.0.0.1"
# Part of the genesis block, and so of every block hash: changing one of these makes old journals useless.
_GENESIS_TIME = 1_700_000_000
_BLOCK_GAS_LIMIT = 1_000_000_000
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_NODE_MODULES = Path(fedchest.__file__).resolve().parents[1] / "contracts" / "node_modules"


class LocalChain:
    """A development chain with its state below `directory`; a context manager.

    Block times follow the wall clock, transactions cost nothing and wallets need no balance. The node answers
    on the loopback interface only, but whoever reaches it there can edit it: what makes it evidence is the
    journal. A `replica` (Anvil only) makes no block of its own and records none: its holder repeats another
    chain's blocks in it, and appends to the journal what came out alike.
    """

    def __init__(
        self, directory: Path, *, engine: Engine = "anvil", port: int | None = None, replica: bool = False
    ) -> None:
        self.directory = directory
        self.journal = Journal(directory / "journal.jsonl")
        self._engine = engine
        self._port = port
        self._replica = replica
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def rpc_url(self) -> str:
        """Where the node answers once it was started; the same after a restart."""
        return f"http://{_HOST}:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the node's process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the node; a non-empty journal is replayed into it first, to the same block hashes.

        Raises ChainError when the node's program is missing, the port is taken, the node does not come up, or
        a journal's block does not reproduce.
        """
        if self.running:
            return
        self._port = _free_port() if self._port is None else require_free_port(self._port)
        self.directory.mkdir(parents=True, exist_ok=True)
        records = self.journal.records()
        atexit.register(self.stop)
        try:
            self._process = _spawn(self._command(replay=bool(records)), self.directory / "node.log")
            w3 = self._await_node()
            if self._engine == "anvil":
                rebuild(w3, records)
            if self._replica:
                return
            if self._engine == "anvil":
                command(w3, "evm_setAutomine", True)
                # The machine's clock may have been set back since; a chain's never goes back.
                command(w3, "evm_setTime", max(int(time.time()), w3.eth.get_block("latest")["timestamp"] + 1))
            self.journal.follow(w3)
        except BaseException:
            self._kill()
            raise

    def stop(self) -> None:
        """Record the last blocks and end the node; does nothing when it isn't running."""
        atexit.unregister(self.stop)
        if self.running and not self._replica:
            with contextlib.suppress(ChainError):  # the node may be dying already
                self.journal.follow(connect(self.rpc_url))
        self._kill()

    def __enter__(self) -> "LocalChain":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self, *, replay: bool) -> list[str]:
        if self._engine == "ganache":
            # Berlin, the last version without base fees, lets wallets without a balance transact.
            options = f"""--server.host {_HOST} --server.port {self._port} --chain.chainId {LOCAL_CHAIN_ID}
                --chain.networkId {LOCAL_CHAIN_ID} --chain.hardfork berlin --miner.defaultGasPrice 0
                --miner.blockGasLimit {_BLOCK_GAS_LIMIT} --wallet.totalAccounts 1"""
            database = ["--database.dbPath", str(self.directory / "ganache")]
            return [*_ganache(), *options.split(), *database]
        options = f"""--host {_HOST} --port {self._port} --chain-id {LOCAL_CHAIN_ID} --hardfork prague
            --timestamp {_GENESIS_TIME} --gas-limit {_BLOCK_GAS_LIMIT} --base-fee 0 --gas-price 0 --accounts 1
            --order fifo --quiet"""
        # Keeping each old state would cost a replica half its speed, and nobody asks it for one.
        kind = ["--prune-history"] if self._replica else []
        return [_anvil(), *options.split(), *kind, *(["--no-mining"] if replay or self._replica else [])]

    def _await_node(self) -> Web3:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.running:
            with contextlib.suppress(ChainError):
                return connect(self.rpc_url)
            time.sleep(0.02)
        raise ChainError(f"The local chain did not start; {self.directory / 'node.log'} says why.")

    def _kill(self) -> None:
        if self._process is None:
            return
        for sign, wait in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait)
                break
        self._process = None


def require_program(engine: Engine) -> None:
    """Raise ChainError when the node's program is not installed."""
    if engine == "ganache":
        _ganache()
    else:
        _anvil()


def _spawn(arguments: list[str], output: Path) -> "subprocess.Popen[bytes]":
    # In a session of its own Ctrl-C does not reach the node before its last blocks are in the journal. The
    # kernel ends it when this process dies; it watches the thread that forked, so only the main one, which
    # lives as long, is bound.
    setpriv = shutil.which("setpriv")
    if setpriv is not None and threading.current_thread() is threading.main_thread():
        arguments = [setpriv, "--pdeathsig", "KILL", *arguments]
    with output.open("ab") as file:
        return subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def require_free_port(port: int) -> int:
    """The port, if a server can listen on it. Raises ChainError when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError):
            raise ChainError(f"Port {port} on {_HOST} can't be used; is another program on it?") from None
    return port
