"""A tiny data set for the learning tests."""

import numpy as np

from fedchest.data.dataset import ChestDataset

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
