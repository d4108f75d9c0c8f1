"""Oddities of a training set are said; a set without any content is refused."""

import numpy as np
import pytest

from fedchest.data.dataset import ChestDataset
from fedchest.data.notices import notices
from fedchest.errors import DataError


def dataset(targets, mask=None, images=None):
    targets = np.array(targets, np.float32)
    count = len(targets)
    if images is None:
        images = np.random.default_rng(0).integers(0, 256, (count, 8, 8)).astype(np.uint8)
    return ChestDataset(
        images=images,
        targets=targets,
        mask=np.ones_like(targets, bool) if mask is None else np.array(mask),
        patients=np.arange(count),
        label_names=("Edema", "Fracture")[: targets.shape[1]],
    )


def test_nothing_odd_is_not_spoken_of():
    assert notices(dataset([[0, 1], [1, 0]])) == []


@pytest.mark.parametrize(
    ("targets", "mask", "words"),
    [
        ([[0, 1], [0, 0]], None, "Edema is never positive"),
        ([[1, 1], [1, 0]], None, "Edema is always positive"),
        ([[1, 1], [0, 0]], [[False, True], [False, True]], "Edema has no label"),
        ([[1, 1], [0, 0]], [[False, True], [True, True]], "Edema is never positive"),
    ],
)
def test_a_label_of_one_class_or_of_none_is_named(targets, mask, words):
    (notice,) = notices(dataset(targets, mask))
    assert words in notice


def test_black_images_are_counted_and_a_black_folder_is_refused():
    images = np.zeros((3, 8, 8), np.uint8)
    images[0, 0, 0] = 1
    (notice,) = notices(dataset([[0, 1], [1, 0], [1, 0]], images=images))
    assert "2 of 3" in notice
    with pytest.raises(DataError, match="All 3 training images"):
        notices(dataset([[0, 1], [1, 0], [1, 0]], images=np.full((3, 8, 8), 7, np.uint8)))
