"""What the learning tests share: fixed coins, every patient looked at once, public images."""

from collections.abc import Sequence

import torch
from blobs import blobs

from fedchest.data.dataset import ChestDataset
from fedchest.learning.augmentation import AUGMENTATIONS
from fedchest.learning.batches import Batch, batch_of, network_input
from fedchest.learning.objectives import Loss, Objective
from fedchest.learning.views import Look, Viewing, look_at
from fedchest.models.chest import ChestModel
from fedchest.protection.randomness import Randomness

ALTERED = Viewing(AUGMENTATIONS["light"])
PUBLIC = network_input(blobs(patients=4, images_each=1, seed=77).images)


def fixed(label: str = "test") -> Randomness:
    return Randomness.derived(b"learning tests", label)


def started(objective: Objective, model: ChestModel, data: ChestDataset) -> Loss:
    return objective.start(model, data, public_images=PUBLIC)


def looks_at(data: ChestDataset, objective: Objective, seen: Viewing = ALTERED) -> list[Look]:
    """A look at every patient, in order, the same for each call."""
    records = [data.rows_of(patient) for patient in range(data.patient_count)]
    return look_at(records, objective.viewing(seen), fixed("looks"))


def batch_for(data: ChestDataset, looks: Sequence[Look], objective: Objective) -> Batch:
    return batch_of(data, looks, objective.viewing(ALTERED))


def values(loss: Loss, model: ChestModel, data: ChestDataset, looks: Sequence[Look]) -> torch.Tensor:
    """The loss of each image, without gradients."""
    with torch.no_grad():
        return loss.rows(model, batch_for(data, looks, loss.objective))
