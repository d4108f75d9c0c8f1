"""A convolutional autoencoder beside the encoder, and the ways to join the maps of the two scale by scale."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedchest.models.encoders import Encoder
from fedchest.models.normalization import group_norm

STRIDES_ALONE = (4, 8, 16)
"""Of an autoencoder without an encoder whose strides it could take."""

ATTENTION_WIDTH = 64
_NARROWEST, _WIDEST = 16, 128


class Streams(StrEnum):
    """Which networks look at the image, and how what they see is joined."""

    ENCODER = "encoder"
    AUTOENCODER = "autoencoder"
    CONCAT = "concat"
    GATE = "gate"
    CROSS_ATTENTION = "cross-attention"


class AutoencoderStream(nn.Module):
    """The convolutional encoder of an autoencoder, with a map at each of three `strides`; `decoder` is the rest."""

    def __init__(self, strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.channels = tuple(map(_width, strides))
        shrinks = [after // before for before, after in pairwise((1, *strides))]
        self.stages = nn.ModuleList(map(_stage, (1, *self.channels), self.channels, shrinks))

    def first_scales(self) -> dict[nn.Parameter, int]:
        """For each parameter the first map that depends on it: 0 the finest, 2 the coarsest."""
        return {weight: scale for scale, stage in enumerate(self.stages) for weight in stage.parameters()}

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images float32[N,1,H,W] to three maps float32[N,channels,H/stride,W/stride]."""
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


Stream = Encoder | AutoencoderStream

Join = Callable[[int, int], nn.Module]
"""From the widths of two maps to a module that makes one of them, as wide as the first."""


class DualStream(nn.Module):
    """The maps of two streams made one at each scale, as wide and as large as the first stream's."""

    def __init__(self, streams: Streams, channels: Sequence[int], others: Sequence[int]) -> None:
        super().__init__()
        finer, last = JOINS[streams]
        joins = (*[finer] * (len(channels) - 1), last)
        self.scales = nn.ModuleList(map(_JoinedScale, joins, channels, others))

    def forward(self, maps: list[Tensor], others: list[Tensor]) -> list[Tensor]:
        """Maps float32[N,channels,h,w] of both streams, finest first, to as many shaped as the first ones."""
        return [scale(own, other) for scale, own, other in zip(self.scales, maps, others, strict=True)]


class _JoinedScale(nn.Module):
    def __init__(self, join: Join, width: int, other: int) -> None:
        super().__init__()
        self.norm, self.other_norm = group_norm(width), group_norm(other)
        self.join = join(width, other)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        # Normalised, so that neither stream outweighs the other by its scale.
        joined: Tensor = self.join(self.norm(own), resized(self.other_norm(other), own.shape[-2:]))
        return joined


class Concat(nn.Module):
    """A linear map of both streams' channels at the same cell."""

    def __init__(self, width: int, other: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width + other, width, kernel_size=1)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Two maps float32[N,width,h,w] and [N,other,h,w] to one like the first."""
        joined: Tensor = self.mix(torch.cat([own, other], dim=1))
        return joined


class Gate(nn.Module):
    """At each cell and channel a weighted mean of the two streams, whose weight is asked of both."""

    def __init__(self, width: int, other: int) -> None:
        super().__init__()
        self.other = nn.Conv2d(other, width, kernel_size=1)
        self.gate = nn.Conv2d(width + other, width, kernel_size=1)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Two maps float32[N,width,h,w] and [N,other,h,w] to one like the first."""
        share = self.gate(torch.cat([own, other], dim=1)).sigmoid()
        joined: Tensor = share * own + (1 - share) * self.other(other)
        return joined


class CrossAttention(nn.Module):
    """The first stream's cells ask the second's (Vaswani et al. 2017, eq. 1), and add the answer to themselves."""

    def __init__(self, width: int, other: int) -> None:
        super().__init__()
        self.queries = nn.Linear(width, ATTENTION_WIDTH, bias=False)
        self.keys = nn.Linear(other, ATTENTION_WIDTH, bias=False)
        self.values = nn.Linear(other, ATTENTION_WIDTH, bias=False)
        self.answer = nn.Linear(ATTENTION_WIDTH, width)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Two maps float32[N,width,h,w] and [N,other,h',w'] to one like the first."""
        asked = other.flatten(2).transpose(1, 2)
        heard = functional.scaled_dot_product_attention(
            self.queries(own.flatten(2).transpose(1, 2)), self.keys(asked), self.values(asked)
        )
        joined: Tensor = own + self.answer(heard).transpose(1, 2).unflatten(2, own.shape[-2:])
        return joined


JOINS: Mapping[Streams, tuple[Join, Join]] = {
    Streams.CONCAT: (Concat, Concat),
    Streams.GATE: (Gate, Gate),
    Streams.CROSS_ATTENTION: (Concat, CrossAttention),
}
"""For streams that are two, what joins them at the finer scales and at the last."""


def decoder(width: int, stride: int) -> nn.Sequential:
    """From a map float32[N,width,h,w] to an image float32[N,1,h*stride,w*stride], for a power of two from 2 on.

    Each doubling is a pointwise convolution whose channels are dealt out to four cells (Shi et al. 2016, section 3.2).
    """
    layers: list[nn.Module] = []
    while stride > 2:
        stride //= 2
        layers += [nn.Conv2d(width, 4 * _width(stride), kernel_size=1, bias=False), nn.PixelShuffle(2)]
        width = _width(stride)
        layers += [group_norm(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, 4, kernel_size=3, padding=1), nn.PixelShuffle(2))


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps float32[N,C,h,w] at `size` cells, interpolated where they are of another size."""
    if maps.shape[-2:] == torch.Size(size):
        return maps
    return functional.interpolate(maps, tuple(size), mode="bilinear")


def _width(stride: int) -> int:
    return min(max(8 * stride, _NARROWEST), _WIDEST)


def _stage(inputs: int, outputs: int, shrink: int) -> nn.Sequential:
    """Convolutions that together shrink a map by a power of two, at least one."""
    layers: list[nn.Module] = []
    for step in [2] * (shrink.bit_length() - 1) or [1]:
        layers += [nn.Conv2d(inputs, outputs, 3, step, padding=1, bias=False), group_norm(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers)
