"""Training without privacy: for public data, and for studies that switch DP off."""

from collections.abc import Callable

import numpy as np

from fedchest.data.dataset import ChestDataset
from fedchest.errors import DataError
from fedchest.learning.batches import rows
from fedchest.learning.objectives import Objective
from fedchest.learning.optimisation import Optimisation, build_optimizer
from fedchest.models.chest import ChestModel
from fedchest.protection.randomness import Randomness


def train_plainly(
    model: ChestModel,
    data: ChestDataset,
    optimisation: Optimisation,
    objective: Objective,
    *,
    steps: int,
    batch: int,
    random: Randomness,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Train `model` in place for `steps` steps of `batch` images drawn with replacement.

    `on_step` is called after each step with the number of steps taken. Raises DataError when there is no image.
    """
    if len(data.images) == 0:
        raise DataError("There is no image to train on.")
    model.train()
    optimizer = build_optimizer(optimisation, [p for p in model.parameters() if p.requires_grad])
    for step in range(1, steps + 1):
        chosen = np.sort(random.integers(batch, len(data.images)))
        images, targets, mask = rows(data, chosen)
        optimizer.zero_grad()
        loss = objective.rows(model(images), targets, mask).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if on_step:
            on_step(step)
