"""A local chain as a child process: started, rebuilt from its journal, and stopped with its owner."""

import atexit
import contextlib
import gzip
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from web3 import Web3

from fedchest.errors import ChainError
from fedchest.ledger.journal import Journal
from fedchest.ledger.programs import GENESIS_TIME, HOST, Engine, anvil, ganache
from fedchest.ledger.rebuild import next_time, rebuild
from fedchest.ledger.rpc import command, connect

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


class OutlivingThread(threading.Thread):
    """A thread that ends after each node that it starts."""


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
        self._was_started = False

    @property
    def rpc_url(self) -> str:
        """Where the node answers once it was started; the same after a restart."""
        return f"http://{HOST}:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the node's process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the node; a non-empty journal is replayed into it first, to the same block hashes.

        After a restart it answers only once it is complete: parties may be waiting at its address, and must not see
        half a chain, nor add to it.

        Raises ChainError when the node's program is missing, the port is taken, the node does not come up, or
        a journal's block does not reproduce.
        """
        if self.running:
            return
        self._port = _free_port() if self._port is None else require_free_port(self._port)
        self.directory.mkdir(parents=True, exist_ok=True)
        atexit.register(self.stop)
        try:
            if self._engine == "ganache":
                self._process = _spawn(ganache(self._port, self.directory / "ganache"), self._log)
            elif self._was_started and self.journal.records() and not self._replica:
                self._start_complete(self._port)
            else:
                self._start_rebuilt(self._port)
            w3 = self._await_node(self.rpc_url)
            if not self._replica:
                self.journal.follow(w3)
        except BaseException:
            self._kill()
            raise
        self._was_started = True

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

    @property
    def _log(self) -> Path:
        return self.directory / "node.log"

    def _start_rebuilt(self, port: int) -> Web3:
        """Start an Anvil at `port` and repeat the journal's blocks in it."""
        records = self.journal.records()
        options = ["--no-mining"] if records or self._replica else []
        # Keeping each old state would cost a replica half its speed, and nobody asks it for one.
        options += ["--prune-history"] if self._replica else []
        self._process = _spawn(anvil(port, GENESIS_TIME, *options), self._log)
        w3 = self._await_node(f"http://{HOST}:{port}")
        rebuild(w3, records)
        if not self._replica:
            command(w3, "evm_setTime", next_time(w3))
            command(w3, "evm_setAutomine", True)
        return w3

    def _start_complete(self, port: int) -> None:
        """Rebuild at an address that nobody knows, and start the known one from the state that comes out."""
        w3 = self._start_rebuilt(_free_port())
        dumped = gzip.decompress(bytes.fromhex(command(w3, "anvil_dumpState", False)[2:]))
        start = next_time(w3)
        self._kill()
        with TemporaryDirectory() as folder:
            state = Path(folder) / "state.json"
            state.write_bytes(dumped)
            self._process = _spawn(anvil(port, start, "--load-state", str(state)), self._log)
            # A node knows no hash of a loaded block, and a cohort drawn from one would not reproduce.
            command(self._await_node(self.rpc_url), "evm_mine")

    def _await_node(self, rpc_url: str) -> Web3:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.running:
            with contextlib.suppress(ChainError):
                return connect(rpc_url)
            time.sleep(0.02)
        raise ChainError(f"The local chain did not start; {self._log} says why.")

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


def _spawn(arguments: list[str], output: Path) -> "subprocess.Popen[bytes]":
    # In a session of its own Ctrl-C does not reach the node before its last blocks are in the journal. The
    # kernel ends it when this process dies; it watches the thread that forked, so only one that lives as long is
    # bound.
    setpriv = shutil.which("setpriv")
    thread = threading.current_thread()
    if setpriv is not None and (thread is threading.main_thread() or isinstance(thread, OutlivingThread)):
        arguments = [setpriv, "--pdeathsig", "KILL", *arguments]
    with output.open("ab") as file:
        return subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def require_free_port(port: int) -> int:
    """The port, if a server can listen on it. Raises ChainError when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            raise ChainError(f"Port {port} on {HOST} can't be used; is another program on it?") from None
    return port
