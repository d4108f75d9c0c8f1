"""What blank images tell before any patient's do: which parameters an objective teaches, and whether DP bounds it.

DP would fill the parameters that it does not teach with noise, and an update would carry them.
"""

import numpy as np
import torch

from fedchest.data.dataset import ChestDataset
from fedchest.learning.batches import batch_of, network_input
from fedchest.learning.dp import clipped_sum
from fedchest.learning.gradients import DpEngine
from fedchest.learning.objectives import Objective
from fedchest.learning.optimisation import trained
from fedchest.learning.views import Viewing, look_at
from fedchest.models.chest import ChestModel
from fedchest.models.parameters import Trainable, restrict
from fedchest.protection.randomness import Randomness

_TWO_PATIENTS = (np.array([0]), np.array([1]))


def train_only(model: ChestModel, trainable: Trainable, objective: Objective, viewing: Viewing) -> None:
    """Let `model` learn those parameters that `trainable` names and that the gradient of `objective` reaches.

    It follows from the network's structure alone, so every party finds the same ones. Raises ConfigError when the
    model lacks a part.
    """
    restrict(model, trainable)
    viewing = objective.viewing(viewing)
    data, device = _two_blank_images(model), next(model.parameters()).device
    looks = look_at(_TWO_PATIENTS, viewing, Randomness.derived(b"structure", "structure"))
    loss = objective.start(model, data, public_images=network_input(data.images[:]))
    total = loss.rows(model, batch_of(data, looks, viewing, device)).sum()
    parameters = trained(model)
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def refuse_unbounded(model: ChestModel, objective: Objective, viewing: Viewing, engine: DpEngine) -> None:
    """Raise UnboundedLossError for what `engine` would refuse in the first private step of `model` as it is."""
    viewing = objective.viewing(viewing)
    data = _two_blank_images(model)
    looks = look_at(_TWO_PATIENTS, viewing, Randomness.derived(b"structure", "structure"))
    loss = objective.start(model, data, public_images=network_input(data.images[:]))
    clipped_sum(model, data, looks, viewing, loss, 1.0, engine=engine)


def _two_blank_images(model: ChestModel) -> ChestDataset:
    side, labels = model.config.image_size, len(model.config.label_names)
    return ChestDataset(
        images=np.zeros((2, side, side), np.uint8),
        targets=np.zeros((2, labels), np.float32),
        mask=np.ones((2, labels), np.bool_),
        patients=np.arange(2),
        label_names=model.config.label_names,
    )
