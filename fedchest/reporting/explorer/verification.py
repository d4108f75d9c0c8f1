"""The verify button's work: one verification at a time, in a process of its own, so that pages stay fast."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Protocol

from fedchest.audit.report import Outcome, Report
from fedchest.errors import FedChestError

_STOP_SECONDS = 15.0


class Verify(Protocol):
    """`fedchest.audit.verify.verify_run` with all but `on_step` given; it travels to the other process."""

    def __call__(self, *, on_step: Callable[[Outcome], None]) -> Report: ...


class State(StrEnum):
    """Where the verification stands. `broken`: it could not be carried out, or its process died."""

    IDLE = "idle"
    RUNNING = "running"
    ENDED = "ended"
    BROKEN = "broken"


@dataclass(frozen=True)
class Progress:
    """What is known of the last verification; `summary` is its sentence, or why it is broken. Times are UTC."""

    state: State = State.IDLE
    outcomes: Sequence[Outcome] = ()
    report: Report | None = None
    summary: str = ""
    started: datetime | None = None
    ended: datetime | None = None


class Verification:
    """Carries out `verify` on request; any thread may ask."""

    def __init__(self, verify: Verify) -> None:
        self._verify = verify
        self._lock = threading.Lock()
        self._progress = Progress()
        self._process: SpawnProcess | None = None
        self._results: Connection | None = None

    def start(self) -> None:
        """Begin a verification, unless one is running."""
        with self._lock:
            self._listen()
            if self._progress.state is State.RUNNING:
                return
            context = multiprocessing.get_context("spawn")
            self._results, results = context.Pipe(duplex=False)
            self._process = context.Process(target=_carry_out, args=(self._verify, results))
            # Ctrl-C before the process is ready for it would print a traceback: it lets it through when it is.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                self._process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            results.close()
            self._progress = Progress(State.RUNNING, started=datetime.now(UTC))

    def progress(self) -> Progress:
        """How far the verification has come."""
        with self._lock:
            self._listen()
            return self._progress

    def close(self) -> None:
        """End a verification that is running, with the node that it started."""
        if self._process is None or self._process.pid is None or not self._process.is_alive():
            return
        os.kill(self._process.pid, signal.SIGINT)
        self._process.join(_STOP_SECONDS)
        self._process.kill()
        self._process.join()

    def _listen(self) -> None:
        """Take in what the process has said since the last time."""
        while self._progress.state is State.RUNNING and self._results is not None and self._results.poll():
            try:
                said: Outcome | Report | FedChestError = self._results.recv()
            except EOFError:
                self._end(State.BROKEN, "The verification's process ended before its report.")
                return
            if isinstance(said, Outcome):
                self._progress = Progress(
                    State.RUNNING, (*self._progress.outcomes, said), started=self._progress.started
                )
            elif isinstance(said, Report):
                self._end(State.ENDED, said.sentence(), said)
            else:
                self._end(State.BROKEN, str(said))

    def _end(self, state: State, summary: str, report: Report | None = None) -> None:
        outcomes = self._progress.outcomes if report is None else report.outcomes
        self._progress = Progress(state, outcomes, report, summary, self._progress.started, datetime.now(UTC))


def _carry_out(verify: Verify, results: Connection) -> None:
    with suppress(KeyboardInterrupt, BrokenPipeError):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        try:
            results.send(verify(on_step=results.send))
        except FedChestError as error:
            results.send(error)
