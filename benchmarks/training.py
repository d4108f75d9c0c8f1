"""Trainings that several benchmarks run: by the product's own command path, each in a process of its own."""

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fedchest.data.phantom.writer import write_phantom_cohort
from fedchest.federation.central import CentralResults, train_centrally
from fedchest.federation.config import read_settings

Sections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Rendered:
    """A synthetic cohort: patients to train on, others to measure on, at so many sites."""

    patients: int = 4000
    held_out: int = 800
    size: int = 64
    seed: int = 1
    sites: int = 4

    def write(self, folder: Path) -> Path:
        """Render it below `folder`, unless it is there already; returns the cohort's folder."""
        root = folder / f"rendered-{self.patients}-{self.held_out}-{self.size}-{self.seed}"
        if not root.exists():
            write_phantom_cohort(
                root,
                patients=self.patients,
                validation_patients=self.held_out,
                size=self.size,
                seed=self.seed,
                sites=self.sites,
                masks=False,
                most_studies=2,
            )
        return root


def trained(data: Path, cache: Path, sections: Sections) -> CentralResults:
    """The results of one central training on one thread of a fresh process; nothing of it is kept."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_trained, data, cache, sections).result()


def _trained(data: Path, cache: Path, sections: Sections) -> CentralResults:
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        places: dict[str, dict[str, Any]] = {
            "data": {"data": data, "cache": cache},
            "privacy": {"epsilon_ledger": root / "epsilon"},
            "run": {"out": root / "run", "workers": 1},
        }
        given = {name: {**sections.get(name, {}), **places.get(name, {})} for name in {*sections, *places}}
        return train_centrally(read_settings(None, given), root / "run", lambda stage: None)
