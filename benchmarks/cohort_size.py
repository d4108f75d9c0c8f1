"""What a cohort of CheXpert's real size costs: reading, dividing and caching it, each in a process of its own."""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from benchmarks.report import Case, run
from fedchest.data.cache import cached_images
from fedchest.data.cohort import Cohort
from fedchest.data.partition import PartitionScheme, partition_patients
from fedchest.data.phantom.full_size import write_full_size_tree
from fedchest.data.reader import read_cohort

HOSPITALS = 5
IMAGE_SIZE = 64

Result = TypeVar("Result")


def measure() -> list[Case]:
    """Seconds of each task on a cohort that was read, and the most memory that its process had until then."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _in_a_process(write_full_size_tree, root)
        return [case for task in TASKS for case in _in_a_process(_one, root, task)]


def _in_a_process(work: Callable[..., Result], *arguments: object) -> Result:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _one(root: Path, task: str) -> list[Case]:
    start = time.perf_counter()
    cohort = read_cohort(root, "train", views="all")
    if task != "read":
        start = time.perf_counter()
        TASKS[task](cohort, root)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return [Case(task, "seconds", seconds), Case(task, "peak MB", memory)]


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
