"""What each part of the learner is worth: AUROC of held-out patients, part by part.

    python -m benchmarks.ablation [--real FOLDER] [--seeds 0 1 2] [--workers 2] [--json]

On a rendered cohort, and with --real on ChestX-ray14 or CheXpert as published. Each arm is trained by the product's own
central path, without DP and at epsilon 8; the baseline once more by Opacus as it comes, at the same constants.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from benchmarks.report import Case, as_object, as_table
from benchmarks.stock_opacus import stock_opacus_auroc
from benchmarks.training import Rendered, Sections, trained

ATTENTION: dict[str, dict[str, Any]] = {"model": {"head": "evidence"}, "training": {"objective": "bce"}}
ARMS: dict[str, list[dict[str, dict[str, Any]]]] = {
    "baseline": [{"model": {"head": "average"}, "training": {"objective": "bce"}}],
    "+ attention": [ATTENTION],
    "+ attention + fusion": [ATTENTION, {"model": {"fusion": "top-down"}}],
    "+ attention + contrastive": [ATTENTION, {"training": {"objective": "bce+prototypes"}}],
    "+ attention + dual stream": [
        ATTENTION,
        {"model": {"streams": "concat"}, "training": {"objective": "bce+reconstruction"}},
    ],
}
"""The settings of each arm, the later over the earlier; each part is added to attention alone."""

COMMON: Sections = {
    "data": {"image_size": 64},
    "model": {"pretrain_steps": 24},
    "partition": {"local_validation": 0.0},
}
PRIVACIES: dict[str, Sections] = {
    "no DP": {"training": {"rounds": 2, "steps": 24, "batch": 64}, "privacy": {"dp": False}},
    "epsilon 8": {
        "training": {
            "rounds": 4,
            "steps": 8,
            "optimizer": "sgd",
            "learning_rate": 0.5,
            "trainable": "last-two-scales",
        },
        "privacy": {"epsilon": 8.0, "delta": 1e-4, "spare_rounds": 0, "images_per_patient": 1},
    },
}
EXPECTED_PATIENTS = 96
"""Patients that a private step draws on average; a public constant beside the cohort's published size."""
STOCK = "baseline by stock Opacus"


@dataclass(frozen=True)
class Job:
    """One training: `arm` on `cohort`, which has so many patients to train on."""

    cohort: str
    data: Path
    patients: int
    privacy: str
    arm: str
    seed: int

    def sections(self) -> dict[str, dict[str, Any]]:
        """The settings: what all share, the privacy's, the arm's."""
        merged: dict[str, dict[str, Any]] = {"run": {"seed": self.seed}}
        layers: list[Sections] = [COMMON, PRIVACIES[self.privacy], *ARMS[self.arm]]
        if self.privacy != "no DP":
            layers.append({"privacy": {"sampling_rate": EXPECTED_PATIENTS / self.patients}})
        for layer in layers:
            for section, values in layer.items():
                merged[section] = {**merged.get(section, {}), **values}
        return merged


def auroc(job: Job, cache: Path) -> float | None:
    """Mean AUROC of the competition's tasks on the cohort's validation split after the last round."""
    if job.arm == STOCK:
        return stock_opacus_auroc(job.data, cache, Job(**{**vars(job), "arm": "baseline"}).sections())
    return trained(job.data, cache, job.sections()).rounds[-1].mean_auroc


def measure(jobs: Sequence[Job], cache: Path, workers: int) -> list[Case]:
    """The AUROC of every job; its baseline is the baseline arm's of the same cohort, privacy and seed."""
    found: dict[Job, float] = {}
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(auroc, job, cache): job for job in jobs}
        for future in as_completed(futures):
            job, value = futures[future], future.result()
            if value is not None:
                found[job] = value
                print(f"{_name(job)}, seed {job.seed}: {value:.4f}", file=sys.stderr, flush=True)
    return [
        Case(_name(job), f"AUROC, seed {job.seed}", found[job], found.get(_baseline(job)))
        for job in jobs
        if job in found
    ]


def _name(job: Job) -> str:
    return f"{job.cohort}/{job.privacy}/{job.arm}"


def _baseline(job: Job) -> Job:
    return Job(**{**vars(job), "arm": "baseline"})


def _jobs(cohorts: Sequence[tuple[str, Path, int]], seeds: Sequence[int]) -> list[Job]:
    jobs = [
        Job(name, data, patients, privacy, arm, seed)
        for seed in seeds
        for name, data, patients in cohorts
        for privacy in PRIVACIES
        for arm in ARMS
    ]
    stock = [
        Job(name, data, patients, "epsilon 8", STOCK, seed)
        for seed in seeds
        for name, data, patients in cohorts
    ]
    return jobs + stock


def main() -> None:
    """Run what the command line asks for and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation")
    parser.add_argument("--real", type=Path, help="a published data set's folder")
    parser.add_argument("--real-patients", type=int, default=1000, help="its public number of patients")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        rendered = Rendered(patients=2000, held_out=600)
        cohorts = [("synthetic", rendered.write(Path(folder)), rendered.patients)]
        if given.real is not None:
            cohorts.append(("real", given.real, given.real_patients))
        cases = measure(_jobs(cohorts, given.seeds), Path(folder) / "cache", given.workers)
    if given.json:
        print(json.dumps(as_object("ablation", cases)))
    else:
        Console().print(as_table("ablation", cases))


if __name__ == "__main__":
    main()
