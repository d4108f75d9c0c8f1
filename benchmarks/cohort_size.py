"""What a cohort of CheXpert's real size costs: reading, dividing and caching it, each in a process of its own."""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.report import Case, run
from fedchest.data.cache import cached_images
from fedchest.data.cohort import Cohort
from fedchest.data.partition import PartitionScheme, partition_patients
from fedchest.data.phantom.full_size import write_full_size_tree
from fedchest.data.reader import read_cohort

SITES, HOSPITALS = 5, 5
IMAGE_SIZE = 64


def measure() -> list[Case]:
    """Seconds of each task, and the most memory of the process that did it and whatever it read before."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_full_size_tree(root, sites=SITES)
        cases: list[Case] = []
        for task in TASKS:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                cases += pool.submit(_one, task, root).result()
    return cases


def _one(task: str, root: Path) -> list[Case]:
    start = time.perf_counter()
    cohort = read_cohort(root, "train", views="all")
    if task != "read":
        start = time.perf_counter()
        TASKS[task](cohort, root)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    name = f"{task}, {len(cohort):,} images"
    return [Case(name, "seconds", seconds), Case(name, "peak MB", memory)]


def _divide(scheme: PartitionScheme) -> Callable[[Cohort, Path], object]:
    return lambda cohort, _root: partition_patients(cohort, HOSPITALS, scheme, alpha=0.5, seed=0)


def _cache(cohort: Cohort, root: Path) -> object:
    return cached_images(cohort, IMAGE_SIZE, root / "cache")


TASKS: dict[str, Callable[[Cohort, Path], object]] = {
    "read": lambda _cohort, _root: None,
    **{f"divide by {scheme}": _divide(scheme) for scheme in PartitionScheme},
    f"fill the cache at {IMAGE_SIZE} px": _cache,
    f"open the cache at {IMAGE_SIZE} px": _cache,
}


if __name__ == "__main__":
    run("cohort_size", measure)
