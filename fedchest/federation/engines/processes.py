"""Child processes that end with the block that started them, and free ports for them."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedchest.errors import EngineError
from fedchest.federation.engines import guard

LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.2
_END_SECONDS = guard.GRACE_SECONDS + 5.0


@dataclass(frozen=True)
class Program:
    """A command, and the folder that is all its own: it starts in the empty folder `work` and writes to `log`.

    Nothing can be imported from an empty working directory by accident, so every process runs the installed
    package. `environment` is laid over this process's.
    """

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]

    @property
    def log(self) -> Path:
        """Where its output goes; appended to by later runs."""
        return self.folder / f"{self.name}.log"


class Child:
    """A started program."""

    def __init__(self, program: Program, process: "subprocess.Popen[bytes]", log_start: int) -> None:
        self.program = program
        self._process = process
        self._log_start = log_start

    def status(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """What this start of the program has written so far."""
        with self.program.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def release(self) -> None:
        """Let go of it: its guard ends it and its children."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def await_end(self) -> None:
        """Wait until it ended; past the guard's patience, its whole session is killed."""
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def failure(self, what: str) -> EngineError:
        """The sentence for the user: `what` happened, and where to read why."""
        return EngineError(f"{what}; {self.program.log} says why.")


@contextmanager
def running(*programs: Program) -> Iterator[list[Child]]:
    """Start the programs and end them with the block: on success, on failure, on Ctrl-C, and with this process.

    Each is in a session of its own, so that Ctrl-C reaches this process alone and the end is in order. That
    they end even when this process is killed is held by tests/federation/test_processes.py.
    """
    children: list[Child] = []
    try:
        for program in programs:
            children.append(_start(program))
        yield children
    finally:
        for child in children:
            child.release()
        for child in children:
            child.await_end()


def await_condition(holds: Callable[[], bool], seconds: float) -> bool:
    """Poll until `holds()`; False when it still doesn't after `seconds`."""
    give_up = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > give_up:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def free_ports(count: int) -> list[int]:
    """`count` different ports that nothing listens on at this moment, on the loopback interface."""
    with ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


def script(name: str) -> str:
    """The path of a console script of this Python environment. Raises EngineError when it is not installed."""
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise EngineError(
            f"{path} does not exist: install fedchest with its dependencies in this environment."
        )
    return str(path)


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `extra`: no telemetry, and this Python's own console scripts first on PATH."""
    scripts = sysconfig.get_path("scripts")
    path = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, **extra}


def threads_each(processes: int) -> str:
    """Threads for each of `processes` that compute at the same time; what the user has set stands."""
    return os.environ.get("OMP_NUM_THREADS") or str(max((os.cpu_count() or 1) // processes, 1))


def _start(program: Program) -> Child:
    work = program.folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    guarded = [sys.executable, "-I", "-S", guard.__file__, *program.command]
    with program.log.open("ab") as log:
        process = subprocess.Popen(
            guarded,
            cwd=work,
            env=child_environment(program.environment),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        return Child(program, process, log.tell())
