"""The file ledger against Anvil: what a round costs its parties, and what it costs to check a whole file."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.played_study import Study
from benchmarks.report import Case, run
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.opening import open_ledger

SIZES = (4, 16)
ROUNDS, LONG = 9, 200


def measure() -> list[Case]:
    """Seconds a round, all parties in one process, beside Anvil's; seconds to check a file from its first entry."""
    cases = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            cases.append(
                Case(f"a round of {size}", "s", _in_file(Path(folder), size), _on_chain(Path(folder), size))
            )
    return [*cases, _opening()]


def _in_file(folder: Path, size: int) -> float:
    (folder / "file").mkdir()
    return _round(Study((folder / "ledger.jsonl").as_uri(), folder / "file", size))


def _on_chain(folder: Path, size: int) -> float:
    (folder / "parties").mkdir()
    with LocalChain(folder / "chain") as chain:
        return _round(Study(chain.rpc_url, folder / "parties", size))


def _round(study: Study) -> float:
    return median(_seconds(study.play_round) for _ in range(ROUNDS))


def _opening() -> Case:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.jsonl"
        study = Study(file.as_uri(), Path(folder), SIZES[0])
        for _ in range(LONG):
            study.play_round()
        entries, _ = study.coordinator.head()
        address = study.coordinator.address
        taken = median(_seconds(lambda: open_ledger(file.as_uri(), address)) for _ in range(ROUNDS))
        return Case(
            f"opening a file of {entries:,} entries, {file.stat().st_size / 1e6:.1f} MB", "s", taken, None
        )


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


if __name__ == "__main__":
    run("file_ledger", measure)
