"""Altered views of an image, a whole batch at once and from given coins."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from fedchest.errors import ConfigError

COINS = 10
"""Numbers in [0, 1) that one view takes."""

_MOST = {"rotation": 180.0, "scale": 0.9, "shift": 0.5, "brightness": 1.0, "contrast": 1.0, "gamma": 4.0}


@dataclass(frozen=True)
class Augmentation:
    """How far a view may differ from its image; each is drawn uniformly from -x to x, and 0 leaves it alone.

    `rotation` in degrees, at most 180; `scale` as a share of the size, at most 0.9; `shift` as a share of the
    side, at most 0.5; `brightness` as a share of the grey range, at most 1; `contrast` as a share of the distance
    from mean grey, at most 1; `gamma` as log2 of the exponent, at most 4; `erasing` the largest share of the side
    that a blanked rectangle has (Zhong et al. 2020), at most 1. No mirroring: left and right are anatomy.
    Raises ConfigError for a value outside its range.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), _MOST.get(field.name, 1.0)
            if not 0 <= value <= most:
                raise ConfigError(f"augmentation {field.name} = {value}: allowed is 0 to {most:g}.")

    @property
    def is_none(self) -> bool:
        """Whether a view is its image."""
        return self == UNALTERED


UNALTERED = Augmentation()

AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {
        "none": UNALTERED,
        "light": Augmentation(rotation=5, scale=0.05, shift=0.05, brightness=0.05, contrast=0.1, gamma=0.15),
        "strong": Augmentation(
            rotation=15, scale=0.2, shift=0.1, brightness=0.2, contrast=0.4, gamma=0.5, erasing=0.3
        ),
    }
)


def augmented(grey: Tensor, coins: Tensor, augmentation: Augmentation) -> Tensor:
    """Views float32[N,1,H,W] of the images `grey` float32[N,1,H,W] in [0,1], each by its own row of `coins`.

    `coins` is float32[N,COINS], uniform in [0,1). A row of the result depends on its own image and coins only.
    """
    if augmentation.is_none:
        return grey
    signed = 2 * coins - 1
    moved = _moved(grey, signed[:, :4], augmentation)
    shaded = _shaded(moved, signed[:, 4:7], augmentation)
    return _erased(shaded, coins[:, 7:], augmentation)


def _moved(grey: Tensor, signed: Tensor, by: Augmentation) -> Tensor:
    """Turned, scaled and shifted; what comes in from outside continues the border."""
    if not (by.rotation or by.scale or by.shift):
        return grey
    angle = signed[:, 0] * math.radians(by.rotation)
    size = 1 + signed[:, 1] * by.scale
    cosine, sine = angle.cos() / size, angle.sin() / size
    shift = 2 * by.shift * signed[:, 2:4]
    matrices = torch.stack([cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]], 1).view(-1, 2, 3)
    grid = functional.affine_grid(matrices, list(grey.shape), align_corners=False)
    return functional.grid_sample(grey, grid, padding_mode="border", align_corners=False)


def _shaded(grey: Tensor, signed: Tensor, by: Augmentation) -> Tensor:
    if not (by.brightness or by.contrast or by.gamma):
        return grey
    brightness, contrast, gamma = signed[:, :, None, None, None].unbind(1)
    mean = grey.mean((1, 2, 3), keepdim=True)
    shaded = mean + (grey - mean) * (1 + by.contrast * contrast) + by.brightness * brightness
    return shaded.clamp(0, 1) ** torch.exp2(by.gamma * gamma)


def _erased(grey: Tensor, coins: Tensor, by: Augmentation) -> Tensor:
    """With one rectangle blanked to mean grey, its centre anywhere."""
    if not by.erasing:
        return grey
    height, width = grey.shape[2:]
    side = coins[:, 0, None] * by.erasing
    rows, columns = (
        ((torch.arange(length, device=grey.device) + 0.5) / length - centre[:, None]).abs() < side / 2
        for length, centre in ((height, coins[:, 1]), (width, coins[:, 2]))
    )
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    return grey.where(~inside, grey.mean((1, 2, 3), keepdim=True))
