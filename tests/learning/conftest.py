"""A tiny data set and model for the learning tests."""

import numpy as np
import pytest

from fedchest.data.dataset import ChestDataset
from fedchest.models.chest import ChestModel, ModelConfig, build_model

LABELS = ("Atelectasis", "Cardiomegaly")


def blobs(patients: int, images_each: int = 2, seed: int = 0) -> ChestDataset:
    """Grey noise with a bright square per positive label: learnable in seconds."""
    random = np.random.default_rng(seed)
    owners = np.repeat(np.arange(patients), images_each).astype(np.int64)
    positive = random.random((len(owners), len(LABELS))) < 0.5
    images = random.integers(40, 90, (len(owners), 32, 32)).astype(np.uint8)
    for label in range(len(LABELS)):
        top = 4 + 14 * label
        images[positive[:, label], top : top + 8, top : top + 8] += 120
    mask = random.random(positive.shape) < 0.9
    return ChestDataset(images, positive.astype(np.float32), mask, owners, LABELS)


@pytest.fixture
def model() -> ChestModel:
    return build_model(ModelConfig(LABELS, image_size=32, embedding=16), seed=0)
