"""Images a second from the decoded cache against decoding the files."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.federations import render
from benchmarks.report import Case, run
from fedchest.data.cache import cached_images
from fedchest.data.chexpert import read_chexpert

PATIENTS, SIZE, REPETITIONS = 300, 96, 3


def measure() -> list[Case]:
    """One pass over all pixels: through the cache, and by filling it, which decodes every file."""
    with tempfile.TemporaryDirectory() as folder:
        cohort = read_chexpert(
            render(Path(folder) / "data", patients=PATIENTS, size=SIZE), "train", views="all"
        )

        def decode(attempt: int) -> None:
            cached_images(cohort, SIZE, Path(folder) / f"cold-{attempt}")

        def read(_attempt: int) -> None:
            cached_images(cohort, SIZE, Path(folder) / "cold-0")[:].sum()

        decoding = len(cohort) / best_seconds(decode)
        reading = len(cohort) / best_seconds(read)
    return [Case(f"{len(cohort)} images at {SIZE} px", "images/s", reading, decoding)]


def best_seconds(action: Callable[[int], None]) -> float:
    """The shortest of a few repetitions, each told its number."""
    durations = []
    for attempt in range(REPETITIONS):
        start = time.perf_counter()
        action(attempt)
        durations.append(time.perf_counter() - start)
    return min(durations)


if __name__ == "__main__":
    run("cache", measure)
