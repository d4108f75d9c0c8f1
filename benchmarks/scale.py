"""A round at 3 to 1,000 institutions: linear in what is sampled, flat in what is not."""

import multiprocessing
import resource
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.federations import Overrides, founded, render
from benchmarks.report import Case, run

PATIENTS, SIZE = 1200, 32
ROUNDS = 2
"""Of which the last counts: in the first every node is asked once who it is."""

SIZES = ((3, 3), (10, 3), (10, 10), (100, 3), (100, 10), (100, 30), (1000, 3), (1000, 10), (1000, 30))
"""(registered, sampled for a round)."""


def measure() -> list[Case]:
    """Seconds, memory, bytes, gas and storage of one round for each of SIZES, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        data = render(Path(folder) / "data", patients=PATIENTS, size=SIZE)
        cases: list[Case] = []
        for registered, sampled in SIZES:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                root = Path(folder) / f"{registered}-{sampled}"
                cases += pool.submit(_one, data, root, registered, sampled).result()
    return cases


def _one(data: Path, root: Path, registered: int, sampled: int) -> list[Case]:
    overrides: Overrides = {
        "data": {"data": data, "image_size": SIZE, "cache": root.parent / "cache"},
        "partition": {"institutions": registered, "local_validation": 0.0},
        "training": {"rounds": ROUNDS, "steps": 1, "batch": 8},
        "privacy": {"dp": False},
        "chain": {"cohort_size": 0 if sampled == registered else sampled},
    }
    with founded(root, overrides) as federation:
        figures = federation.run().rounds[-1]
    name = f"{registered} registered, {sampled} sampled"
    assert figures.seconds is not None
    return [
        Case(name, "seconds", figures.seconds),
        Case(name, "peak MB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        Case(name, "sent bytes", figures.sent_bytes),
        Case(name, "gas", figures.gas),
        Case(name, "stored bytes", figures.stored_bytes),
    ]


if __name__ == "__main__":
    run("scale", measure)
