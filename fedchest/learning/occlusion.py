"""Where in an image a decision comes from, asked of the model as a whole: what is left when a place is covered."""

from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedchest.learning.batches import network_input
from fedchest.models.chest import Decision

Decide = Callable[[Tensor], Decision]
"""Such as `ChestModel.decide`: images float32[N,1,H,W] to the evidence and the logits that it adds up to."""

Square = tuple[EllipsisType, slice, slice]

PATCH, STEP = 1 / 8, 1 / 16
"""Of the image's side: the square that is covered, and how far apart the squares are."""

_PIXELS_AT_ONCE = 1 << 20


def occlusion_maps(decide: Decide, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """How much of each label's logit goes when the place around each pixel of uint8[H,H] is covered: float32[L,H,H].

    Zeiler and Fergus 2014, section 4.2; it knows nothing of the model's inside. Every covering is a square of PATCH of
    the side in the grey that means nothing to the network, 0 after normalisation; a pixel's value is the mean over
    the squares that cover it. It takes about 1/STEP^2 passes.
    """
    side = len(image)
    patch, step = max(1, round(PATCH * side)), max(1, round(STEP * side))
    corners = sorted({min(start, side - patch) for start in range(0, side, step)})
    squares = [np.s_[..., top : top + patch, left : left + patch] for top in corners for left in corners]
    seen = network_input(image[None])
    whole = decide(seen).by_scale.sum(1)
    size = _at_once(seen)
    parts = (squares[start : start + size] for start in range(0, len(squares), size))
    falls = torch.cat([whole - decide(_covered(seen, part)).by_scale.sum(1) for part in parts]).numpy()
    total, times = np.zeros((falls.shape[1], side, side), np.float32), np.zeros((side, side), np.float32)
    for square, fall in zip(squares, falls, strict=True):
        total[square] += fall[:, None, None]
        times[square] += 1
    return total / times


def some_at_once(images: Tensor) -> Iterator[Tensor]:
    """Images [N,1,H,W] in parts that a model can take at once without much memory."""
    return iter(torch.split(images, _at_once(images)))


def _at_once(images: Tensor) -> int:
    return max(1, _PIXELS_AT_ONCE // images[0].numel())


def _covered(image: Tensor, squares: Sequence[Square]) -> Tensor:
    """One copy of the image [1,1,H,W] for each square, which is covered in it."""
    copies = image.repeat(len(squares), 1, 1, 1)
    for one, square in zip(copies, squares, strict=True):
        one[square] = 0.0
    return copies
