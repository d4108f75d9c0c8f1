"""The explorer's pages on 10,000 rounds against 10 rounds, asked of the running command over the loopback interface."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import requests

from benchmarks.report import Case, run
from benchmarks.synthetic import SyntheticLedger
from fedchest.audit.index import EventIndex

FEW, MANY = 10, 10_000
"""Rounds of the two studies."""

REPEATS = 15
PAGES = {
    "study": "/",
    "rounds, newest": "/rounds",
    "rounds, in the middle": "/rounds?from={middle}",
    "round": "/rounds/{middle}",
    "institutions": "/institutions",
    "institution": "/institutions/7",
    "institution, in the middle": "/institutions/7?from={middle}",
    "budget": "/budget",
    "rewards": "/rewards",
    "lineage": "/lineage?from={middle}",
    "events": "/events",
    "events of an institution and kind": "/events?institution=7&kind=Attested",
    "verify": "/verify",
}
COMMAND = [
    sys.executable,
    "-c",
    "from fedchest.cli.main import main; main()",
    "audit",
    "serve",
    "--port",
    "0",
]


def measure() -> list[Case]:
    """Milliseconds of each page, from request to last byte; the baseline is the same page of the short study."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_timed(Path(folder) / f"{rounds}.sqlite", rounds) for rounds in (FEW, MANY))
    return [Case(f"{page}, {MANY:,} rounds", "ms", many[page], few[page]) for page in PAGES]


def _timed(path: Path, rounds: int) -> dict[str, float]:
    with EventIndex(path, SyntheticLedger(rounds)) as index:
        index.sync()
    with _served(path) as address, requests.Session() as session:
        return {
            page: _milliseconds(session, address + place.format(middle=rounds // 2))
            for page, place in PAGES.items()
        }


@contextmanager
def _served(path: Path) -> Iterator[str]:
    with subprocess.Popen([*COMMAND, str(path)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            announced = server.stdout.readline()
            yield announced.split()[3].rstrip("/")
        finally:
            server.terminate()


def _milliseconds(session: requests.Session, address: str) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        session.get(address).raise_for_status()
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds)


if __name__ == "__main__":
    run("explorer", measure)
