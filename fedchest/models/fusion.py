"""Fusion of an encoder's scales: what the coarse maps know is handed down to the fine ones, or is not."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

PYRAMID_WIDTH = 64


class Fusion(StrEnum):
    """How the scales see each other before the head reads them."""

    NONE = "none"
    TOP_DOWN = "top-down"


class Separate(nn.Module):
    """Every scale stays as the encoder left it."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Hand on the maps float32[N,channels,h,w]."""
        return maps


class TopDown(nn.Module):
    """A feature pyramid (Lin et al. 2017, section 3): each map gets the upsampled one above it added."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = (PYRAMID_WIDTH,) * len(channels)
        self.pyramid = FeaturePyramidNetwork(list(channels), PYRAMID_WIDTH)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps float32[N,channels,h,w], finest first, to as many float32[N,64,h,w]."""
        return list(self.pyramid(dict(enumerate(maps))).values())


FUSIONS: Mapping[Fusion, Callable[[Sequence[int]], Separate | TopDown]] = {
    Fusion.NONE: Separate,
    Fusion.TOP_DOWN: TopDown,
}
"""From the maps' channels, finest first, to a module that maps maps to maps, of its own `channels`."""
