"""Training without privacy: for public data, and for studies that switch DP off."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fedchest.data.dataset import ChestDataset
from fedchest.errors import DataError, TrainingError
from fedchest.learning.batches import batch_of
from fedchest.learning.objectives import Loss, Objective
from fedchest.learning.optimisation import Optimisation, are_finite, build_optimizer, trained
from fedchest.learning.views import ONE_VIEW, Look, Viewing, look_at
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
    viewing: Viewing = ONE_VIEW,
    public_images: Tensor | None = None,
    images_at_once: int | None = None,
    autocast: torch.dtype | None = None,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Train `model` in place for `steps` steps of `batch` images drawn with replacement.

    `viewing`, `public_images` and `autocast` are as in `Objective`; the work is done where the model is. Of a
    step, `images_at_once` pass the network together, by default all; an objective that compares images compares
    those. `on_step` is called after each step with the number of steps taken. Raises DataError when there is no
    image, and TrainingError when the loss or a parameter stops being finite; the model is then as it was when its
    loss was last finite.
    """
    if len(data.images) == 0:
        raise DataError("There is no image to train on.")
    model.train()
    viewing = objective.viewing(viewing)
    loss = objective.start(model, data, public_images=public_images, autocast=autocast)
    optimizer = build_optimizer(optimisation, trained(model))
    views = random.child("views")
    good = _copy(model)
    for step in range(1, steps + 1):
        chosen = np.sort(random.integers(batch, len(data.images)))
        pools = [data.rows_of(int(patient)) for patient in data.patients[chosen]]
        looks = look_at(chosen[:, None], viewing, views, pools)
        optimizer.zero_grad()
        if not _accumulate(model, data, looks, viewing, loss, images_at_once or batch):
            _restore(model, good)
            raise TrainingError(
                f"The loss is not finite in step {step} of {steps}: a lower learning_rate may help. The model is "
                "that of the last finite step."
            )
        good = _copy(model)
        optimizer.step()
        loss.after_step(model)
        if on_step:
            on_step(step)
    if not are_finite(model):
        _restore(model, good)
        raise TrainingError(
            f"The parameters are not finite after the last of {steps} steps, which is undone."
        )


def _accumulate(
    model: ChestModel,
    data: ChestDataset,
    looks: list[Look],
    viewing: Viewing,
    loss: Loss,
    images_at_once: int,
) -> bool:
    """Add the gradient of the mean loss over `looks` to the parameters', piece by piece; False once not finite."""
    device = next(model.parameters()).device
    for start in range(0, len(looks), images_at_once):
        piece = looks[start : start + images_at_once]
        total = loss.rows(model, batch_of(data, piece, viewing, device)).sum() / len(looks)
        if not total.isfinite():
            return False
        total.backward()  # type: ignore[no-untyped-call]
    return True


def _copy(model: ChestModel) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


@torch.no_grad()
def _restore(model: ChestModel, values: list[Tensor]) -> None:
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.copy_(value)
