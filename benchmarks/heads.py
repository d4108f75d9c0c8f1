"""Heads against each other: how well they rank held-out images, and whether their maps tell the truth.

    python -m benchmarks.heads [--encoder NAME] [--steps N] [--heads NAME…] [--seeds 0 1 2] [--workers 2] [--json]

On a rendered cohort, without DP. Faithfulness is measured on images of other patients, with exact masks and with the
finding rendered away (`fedchest/learning/faithfulness.py`); its mean is over the labels.
"""

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from benchmarks.report import Case, as_object, as_table
from benchmarks.training import Rendered
from fedchest.data.phantom.cases import draw_cases
from fedchest.federation.central import train_centrally
from fedchest.federation.config import read_settings
from fedchest.federation.directory import RunDirectory
from fedchest.federation.run_model import load_run_model
from fedchest.learning.faithfulness import measure_faithfulness
from fedchest.models.heads import Head

SIZE = 64
CASES, CASES_SEED = 20, 777
ENCODER, STEPS = "xception-nano", 160
TRAINING = {"rounds": 1, "batch": 64, "objective": "bce"}


def measure(
    encoder: str, steps: int, heads: Sequence[Head], seeds: Sequence[int], workers: int
) -> list[Case]:
    """Five figures of each head and seed."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        data = Rendered(patients=3000, held_out=800, size=SIZE).write(root)
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            futures = [
                pool.submit(_cases, data, root / "cache", encoder, steps, head, seed)
                for seed, head in product(seeds, heads)
            ]
            return [case for future in futures for case in future.result()]


def _cases(data: Path, cache: Path, encoder: str, steps: int, head: Head, seed: int) -> list[Case]:
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        root = Path(folder) / "run"
        given: dict[str, dict[str, Any]] = {
            "data": {"data": data, "cache": cache, "image_size": SIZE},
            "model": {"encoder": encoder, "head": head},
            "partition": {"local_validation": 0.0},
            "training": {**TRAINING, "steps": steps},
            "privacy": {"dp": False},
            "run": {"seed": seed},
        }
        results = train_centrally(read_settings(None, given), root, lambda stage: None)
        trained = load_run_model(RunDirectory(root))
        trained.model.eval()
        drawn = {name: draw_cases(name, CASES, size=SIZE, seed=CASES_SEED) for name in trained.study.labels}
        faithful = measure_faithfulness(trained.model.decide, trained.study.labels, drawn).mean
    assert faithful is not None
    figures = {
        "AUROC": results.rounds[-1].mean_auroc,
        "pointing hits": faithful.pointing,
        "chance": faithful.chance,
        "occlusion hits": faithful.occlusion,
        "counterfactual drop": faithful.drop,
    }
    print(encoder, steps, head, seed, figures, file=sys.stderr, flush=True)
    return [
        Case(f"{encoder}/{head}", f"{metric}, seed {seed}", value)
        for metric, value in figures.items()
        if value is not None
    ]


def main() -> None:
    """Run what the command line asks for and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heads")
    parser.add_argument("--encoder", default=ENCODER)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--heads", type=Head, nargs="+", default=list(Head), choices=list(Head))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cases = measure(given.encoder, given.steps, given.heads, given.seeds, given.workers)
    if given.json:
        print(json.dumps(as_object("heads", cases)))
    else:
        Console().print(as_table("heads", cases))


if __name__ == "__main__":
    main()
