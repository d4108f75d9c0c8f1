"""What a round adds to chain, journal, index and artifact store, and what of it stays when older rounds are pruned.

The baseline is the plain float32 updates of the round's institutions, which is what leaves the hospitals at least.
"""

import tempfile
from pathlib import Path

from benchmarks.federations import Overrides, founded, render
from benchmarks.report import Case, run
from fedchest.aggregation.model import parse_model
from fedchest.audit.index import EventIndex
from fedchest.audit.pruning import prune
from fedchest.audit.source import run_ledger
from fedchest.federation.directory import JOURNAL, RunDirectory

INSTITUTIONS, PATIENTS, SIZE, ROUNDS = 4, 80, 32, 4
ENCODERS = ("xception-nano", "densenet121")
FLOAT32 = 4


def measure() -> list[Case]:
    """Bytes a round: the growth between a run of 1 round and one of `ROUNDS`."""
    return [case for encoder in ENCODERS for case in _of(encoder)]


def _of(encoder: str) -> list[Case]:
    with tempfile.TemporaryDirectory() as folder:
        data = render(Path(folder) / "data", patients=PATIENTS, size=SIZE)
        first, _, _ = _sizes(Path(folder) / "first", data, encoder, rounds=1)
        last, pruned, plain = _sizes(Path(folder) / "last", data, encoder, rounds=ROUNDS)
    growth = {name: (last[name] - first[name]) / (ROUNDS - 1) for name in last}
    growth["artifacts, older rounds pruned"] = (pruned - first["artifacts"]) / (ROUNDS - 1)
    return [Case(f"{encoder}, {name}", "bytes/round", value, plain) for name, value in growth.items()]


def _sizes(root: Path, data: Path, encoder: str, rounds: int) -> tuple[dict[str, int], int, int]:
    """Bytes of each part at the end of a run, those of the store after pruning, those of one round's plain updates."""
    overrides: Overrides = {
        "data": {"data": data, "image_size": SIZE},
        "model": {"model": "chexnet", "encoder": encoder},
        "partition": {"institutions": INSTITUTIONS, "local_validation": 0.0},
        "training": {"rounds": rounds, "steps": 1, "batch": 2},
        "privacy": {"dp": False},
        "protection": {"patients_per_weight_unit": 10},
    }
    with founded(root, overrides) as federation:
        federation.run()
    directory = federation.directory
    sizes = {
        "a party's journal": (directory.coordinator / JOURNAL).stat().st_size,
        "event index": _index_size(directory),
        "artifacts": _artifact_size(directory),
    }
    prune(directory, keep=1)
    with run_ledger(directory) as ledger:
        model = parse_model(directory.artifacts.get(ledger.global_model()))
    parameters = sum(values.size for values in model.values())
    return sizes, _artifact_size(directory), INSTITUTIONS * parameters * FLOAT32


def _index_size(directory: RunDirectory) -> int:
    path = directory.root / "index.sqlite"
    with run_ledger(directory) as ledger, EventIndex(path, ledger) as index:
        index.sync()
    return path.stat().st_size


def _artifact_size(directory: RunDirectory) -> int:
    return sum(path.stat().st_size for path in directory.artifacts.directory.iterdir())


if __name__ == "__main__":
    run("growth", measure)
