"""From stored images to the network's input."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedchest.data.dataset import ChestDataset

# Public constants, not a hospital's own mean and deviation, which would leave it without noise.
GREY_MEAN = 0.5
GREY_DEVIATION = 0.25


def network_input(images: npt.NDArray[np.uint8]) -> Tensor:
    """Turn images uint8[N,H,W] into float32[N,1,H,W], normalised by public constants."""
    grey = torch.from_numpy(np.array(images)).unsqueeze(1).float().div_(255.0)
    return grey.sub_(GREY_MEAN).div_(GREY_DEVIATION)


def rows(data: ChestDataset, indices: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    """Images float32[n,1,H,W], targets float32[n,L] and mask bool[n,L] of the given rows."""
    return (
        network_input(data.images[indices]),
        torch.from_numpy(data.targets[indices]),
        torch.from_numpy(data.mask[indices]),
    )
