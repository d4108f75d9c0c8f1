"""Every named configuration on a rendered cohort, with and without DP: parameters, seconds, AUROC, epsilon.

python -m benchmarks.models [NAME ...] [--workers 1] [--json]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from benchmarks.report import Case, as_object, as_table
from benchmarks.training import Rendered, Sections, trained
from fedchest.federation.central import CentralResults
from fedchest.federation.config import recipes

BATCH = 64
PATIENTS = 2000
COMMON: Sections = {
    "data": {"image_size": 64},
    "partition": {"local_validation": 0.0},
    "model": {"pretrain_steps": 20},
    "training": {"rounds": 3, "steps": 12, "batch": BATCH},
}
PRIVACIES: dict[str, dict[str, dict[str, Any]]] = {
    "no DP": {"privacy": {"dp": False}},
    "DP": {
        "training": {"optimizer": "sgd", "learning_rate": 0.5, "trainable": "last-two-scales"},
        "privacy": {
            "epsilon": 8.0,
            "delta": 1e-4,
            "spare_rounds": 0,
            "images_per_patient": 1,
            "sampling_rate": BATCH / PATIENTS,
        },
    },
}


def measure(names: Sequence[str], workers: int) -> list[Case]:
    """Four figures of each configuration under each privacy."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        data = Rendered(patients=PATIENTS, held_out=800).write(root)
        jobs = [(name, privacy) for name in names for privacy in PRIVACIES]
        with ThreadPoolExecutor(workers) as pool:
            results = pool.map(lambda job: _trained(data, root / "cache", *job), jobs)
            return [case for job, result in zip(jobs, results, strict=True) for case in _cases(*job, result)]


def _sections(name: str, privacy: str) -> Sections:
    layers = (COMMON, PRIVACIES[privacy])
    merged: dict[str, dict[str, Any]] = {"model": {"model": name}}
    for layer in layers:
        for section, values in layer.items():
            merged[section] = {**merged.get(section, {}), **values}
    if name == "semssl":
        merged["training"]["pretraining_rounds"] = 1
    return merged


def _trained(data: Path, cache: Path, name: str, privacy: str) -> CentralResults:
    results = trained(data, cache, _sections(name, privacy))
    print(f"{name}, {privacy}: {results.rounds[-1].mean_auroc}", file=sys.stderr, flush=True)
    return results


def _cases(name: str, privacy: str, results: CentralResults) -> list[Case]:
    case = f"{name}/{privacy}"
    seen = BATCH * COMMON["training"]["steps"] * len(results.rounds)
    seconds = sum(one.seconds for one in results.rounds)
    figures = {
        "parameters": float(results.parameters),
        "seconds per 1,000 images": 1000 * seconds / seen,
        "mean AUROC": results.rounds[-1].mean_auroc,
        "epsilon": results.epsilon,
    }
    return [Case(case, metric, value) for metric, value in figures.items() if value is not None]


def main() -> None:
    """Run what the command line asks for and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models")
    parser.add_argument("names", nargs="*", help="configurations [default: all]")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cases = measure(given.names or list(recipes()), given.workers)
    if given.json:
        print(json.dumps(as_object("models", cases)))
    else:
        Console().print(as_table("models", cases))


if __name__ == "__main__":
    main()
