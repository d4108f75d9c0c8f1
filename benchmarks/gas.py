"""Gas and wall time of a round against the number of institutions, on Anvil: what each party's transactions use.

The baseline is a transaction that does nothing, 21,000 gas; of the times, sending as many of those.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.played_study import Study
from benchmarks.report import Case, run
from fedchest.ledger.chain import LocalChain

SIZES = (2, 4, 16, 64, 256)
NOTHING = 21_000


def measure() -> list[Case]:
    """Each kind of transaction by number of institutions, in a study's second round, and seconds of the third."""
    return [case for size in SIZES for case in _of(size)]


def _of(size: int) -> list[Case]:
    with tempfile.TemporaryDirectory() as folder, LocalChain(Path(folder) / "chain") as chain:
        study = Study(chain.rpc_url, Path(folder), size)
        study.play_round()
        gas = study.play_round()
        start = time.perf_counter()
        study.play_round()
        seconds = time.perf_counter() - start
    return [
        *(Case(f"{kind}/{size}", "gas", amount, NOTHING) for kind, amount in gas.items()),
        Case(f"round/{size}", "s", seconds, None),
    ]


if __name__ == "__main__":
    run("gas", measure)
