"""Flower's simulation engine: both apps in one child process, the clients in Ray actors."""

import secrets
import sys
from tempfile import TemporaryDirectory

from fedchest.federation.directory import RunDirectory
from fedchest.federation.engines.processes import Program, await_condition, running, threads_each
from fedchest.federation.sites import COORDINATOR_VARIABLE, INSTITUTIONS_VARIABLE


def run_in_simulation(directory: RunDirectory, *, workers: int, seconds: float) -> None:
    """Run the study's remaining rounds; at most `workers` institutions train at the same time, `seconds` in all.

    This is Flower's `run_simulation` in a process of its own, not `flwr run`: that one leaves a daemon behind
    whose unauthenticated control port lets any account of the machine run code in this one's name, and it can
    leave a run pending for ever. `run_simulation` is deprecated, but Flower's version is pinned. In its own
    process its exit status tells success, Ray's output goes to a file, and Ctrl-C need not wait for its threads.

    Ray listens on every network interface and runs what it is sent; a token of this run's own keeps others out
    (tests/federation/test_engines.py).

    Raises EngineError, naming the log, when the process fails or takes longer.
    """
    institutions = directory.institutions()
    # Ray's socket names must be short, so its folder can't be below the run's; the default one is shared by
    # all accounts of the machine.
    with TemporaryDirectory(prefix="fedchest-ray-") as ray_folder:
        program = Program(
            name="simulation",
            command=[
                *(sys.executable, "-P", "-m", "fedchest.federation.engines.simulation_process"),
                *(str(len(institutions)), str(workers), ray_folder),
            ],
            folder=directory.root / "simulation",
            environment={
                COORDINATOR_VARIABLE: str(directory.coordinator.resolve()),
                INSTITUTIONS_VARIABLE: str(directory.institution(0).parent.resolve()),
                "OMP_NUM_THREADS": threads_each(workers),
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
            },
        )
        with running(program) as [process]:
            if not await_condition(lambda: process.status() is not None, seconds):
                raise process.failure(f"Flower's simulation did not end within {seconds:.0f} s")
            if process.status() != 0:
                raise process.failure("Flower's simulation failed")
