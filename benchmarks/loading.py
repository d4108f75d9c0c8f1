"""Getting a batch (rows of the decoded cache to normalised tensors) against the whole training step that uses it."""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import Case, run
from fedchest.data.cache import CachedImages
from fedchest.data.dataset import ChestDataset
from fedchest.data.labels import COMPETITION
from fedchest.learning.batches import rows
from fedchest.learning.objectives import objective_named
from fedchest.learning.optimisation import Optimisation
from fedchest.learning.plain import train_plainly
from fedchest.models.chest import ModelConfig, build_model
from fedchest.protection.randomness import Randomness

BATCH = 32
IMAGES = 2000
STEPS = {("xception-nano", 64): 30, ("xception-nano", 320): 6, ("legacy_xception", 320): 1}
"""Steps that are timed, by encoder and image size, after one that isn't."""


def measure() -> list[Case]:
    """Seconds to get one batch from pages in memory; the baseline is one whole plain training step, batch included."""
    with tempfile.TemporaryDirectory() as folder:
        return [_case(encoder, size, steps, Path(folder)) for (encoder, size), steps in STEPS.items()]


def _case(encoder: str, size: int, steps: int, folder: Path) -> Case:
    data = _stored_data(folder / f"{size}.pixels", size)
    chosen = np.random.default_rng(1).integers(0, IMAGES, (max(steps, 30), BATCH))
    rows(data, chosen[0])
    start = time.perf_counter()
    for some in chosen:
        rows(data, np.sort(some))
    loading = (time.perf_counter() - start) / len(chosen)
    return Case(f"{encoder} at {size} px, batch {BATCH}", "seconds", loading, _step(encoder, data, steps))


def _step(encoder: str, data: ChestDataset, steps: int) -> float:
    model = build_model(ModelConfig(COMPETITION, encoder, image_size=data.images.shape[1]), seed=0)
    ends: list[float] = []
    train_plainly(
        model,
        data,
        Optimisation(),
        objective_named("bce", private=False),
        steps=steps + 1,
        batch=BATCH,
        random=Randomness.derived(bytes(32), "benchmark"),
        on_step=lambda _step: ends.append(time.perf_counter()),
    )
    return (ends[-1] - ends[0]) / steps


def _stored_data(path: Path, size: int) -> ChestDataset:
    """Noise of the given size on disk, as a filled cache holds images, with random labels."""
    random = np.random.default_rng(0)
    path.write_bytes(random.integers(0, 256, (IMAGES, size, size), dtype=np.uint8).tobytes())
    pixels = np.memmap(path, dtype=np.uint8, mode="r", shape=(IMAGES, size, size))
    return ChestDataset(
        images=CachedImages(pixels, np.arange(IMAGES)),
        targets=random.integers(0, 2, (IMAGES, len(COMPETITION))).astype(np.float32),
        mask=np.ones((IMAGES, len(COMPETITION)), dtype=np.bool_),
        patients=np.arange(IMAGES),
        label_names=COMPETITION,
    )


if __name__ == "__main__":
    run("loading", measure)
