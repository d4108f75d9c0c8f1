"""What is odd about a training set without being wrong: to be said once, before hours are spent on it."""

import numpy as np

from fedchest.data.dataset import ChestDataset
from fedchest.errors import DataError

_LOOKED_AT = 1000
"""The most images that are looked at, evenly spaced: enough to see that a whole folder is empty."""


def notices(data: ChestDataset) -> list[str]:
    """One sentence for each oddity of `data`: labels of one class or of none, images without any content.

    Raises DataError when no image that was looked at has content.
    """
    return [*_about_labels(data), *_about_images(data)]


def _about_labels(data: ChestDataset) -> list[str]:
    found = []
    for column, name in enumerate(data.label_names):
        known = data.targets[data.mask[:, column], column]
        if not len(known):
            found.append(f"{name} has no label on any training image: the supervised loss leaves it out.")
        elif known.max() <= 0.5:
            found.append(f"{name} is never positive on the training images: nothing can be learnt of it.")
        elif known.min() > 0.5:
            found.append(f"{name} is always positive on the training images: nothing can be learnt of it.")
    return found


def _about_images(data: ChestDataset) -> list[str]:
    looked_at = np.unique(np.linspace(0, len(data) - 1, min(len(data), _LOOKED_AT)).astype(np.int64))
    pixels = data.images[looked_at].reshape(len(looked_at), -1)
    empty = int((pixels.min(1) == pixels.max(1)).sum())
    if empty == len(looked_at):
        raise DataError(
            f"All {empty} training images that were looked at are of one grey value, such as black."
        )
    if not empty:
        return []
    return [
        f"{empty} of {len(looked_at)} training images that were looked at are of one grey value, such as black."
    ]
