"""From stored images to what the network sees of them in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedchest.data.dataset import ChestDataset
from fedchest.learning.augmentation import augmented
from fedchest.learning.views import Look, Viewing, turns_of

# Public constants, not a hospital's own mean and deviation, which would leave it without noise.
GREY_MEAN = 0.5
GREY_DEVIATION = 0.25


@dataclass(frozen=True)
class Batch:
    """N images in V views each, an image's views side by side: row n*V+v is view v of image n.

    `images` float32[N*V,1,H,W], the network's input; `targets` float32[N*V,L]; `mask` and `uncertain`
    bool[N*V,L]; `turns` int64[N*V], the quarter turns applied; `indices` int64[N], the data set's rows.
    """

    images: Tensor
    targets: Tensor
    mask: Tensor
    uncertain: Tensor
    turns: Tensor
    indices: Tensor

    @property
    def views(self) -> int:
        return len(self.turns) // len(self.indices)


def network_input(images: npt.NDArray[np.uint8]) -> Tensor:
    """Turn images uint8[N,H,W] into float32[N,1,H,W], normalised by public constants."""
    return _normalised(_grey(images))


def batch_of(
    data: ChestDataset, looks: Sequence[Look], viewing: Viewing, device: torch.device | str = "cpu"
) -> Batch:
    """What `looks` see of `data`, in their order, on `device`. The work is done there, on all rows at once."""
    seen = np.concatenate([look.rows for look in looks])
    rows = seen.ravel()
    coins = torch.from_numpy(np.concatenate([look.coins for look in looks])).flatten(0, 1).to(device)
    turns = turns_of(coins, viewing)
    views = augmented(_grey(data.images[rows]).to(device), coins, viewing.augmentation)
    uncertain = np.zeros_like(data.mask[rows]) if data.uncertain is None else data.uncertain[rows]
    return Batch(
        images=_turned(_normalised(views), turns),
        targets=torch.from_numpy(data.targets[rows]).to(device),
        mask=torch.from_numpy(data.mask[rows]).to(device),
        uncertain=torch.from_numpy(uncertain).to(device),
        turns=turns,
        indices=torch.from_numpy(seen[:, 0]).to(device),
    )


def _grey(images: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.array(images)).unsqueeze(1).float().div_(255.0)


def _normalised(grey: Tensor) -> Tensor:
    return grey.sub_(GREY_MEAN).div_(GREY_DEVIATION)


def _turned(images: Tensor, turns: Tensor) -> Tensor:
    for quarter in range(1, 4):
        chosen = turns == quarter
        if chosen.any():
            images[chosen] = images[chosen].rot90(quarter, (2, 3))
    return images
