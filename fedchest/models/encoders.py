"""Encoders for grey radiographs: timm's Xception family, every batch normalisation replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.convnext import ConvNeXtBlock
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.xception import Block as LegacyBlock
from timm.models.xception_aligned import XceptionAligned
from torch import Tensor, nn

from fedchest.errors import ConfigError
from fedchest.models.normalization import replace_batch_norm, without_in_place

SCALES = 3
_PROBE = 64
"""Pixels of the image by which an encoder is asked what depends on what."""


@dataclass(frozen=True)
class _Block:
    in_chs: int
    out_chs: tuple[int, int, int]
    stride: int


@dataclass(frozen=True)
class _Xception:
    """A pre-activation aligned Xception (Chen et al. 2018, section 3.2) of our own widths."""

    stem: int
    blocks: Sequence[_Block]


_OWN: Mapping[str, _Xception] = {
    "xception-nano": _Xception(
        stem=32,
        blocks=(
            _Block(32, (32, 32, 64), stride=2),
            _Block(64, (128, 128, 128), stride=2),
            _Block(128, (192, 192, 192), stride=2),
            _Block(192, (192, 192, 192), stride=1),
        ),
    ),
    "xception-tiny": _Xception(
        stem=48,
        blocks=(
            _Block(48, (48, 48, 96), stride=2),
            _Block(96, (192, 192, 192), stride=2),
            _Block(192, (320, 320, 320), stride=2),
            _Block(320, (320, 320, 320), stride=1),
            _Block(320, (320, 320, 320), stride=1),
        ),
    ),
}


class Encoder(nn.Module):
    """Feature maps of a grey image at the network's last three scales.

    `channels[i]` and `strides[i]` say how wide the i-th map is and how many pixels one of its cells spans.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        taps: Sequence[Mapping[str, Any]] = network.feature_info[-SCALES:]  # type: ignore[assignment,index]
        self.channels = tuple(int(tap["num_chs"]) for tap in taps)
        self.strides = tuple(int(tap["reduction"]) for tap in taps)

    def first_scales(self) -> dict[nn.Parameter, int]:
        """For each parameter that any map depends on, the first such map: 0 the finest, 2 the coarsest.

        Parameters that no map depends on, such as a classifier's, are left out.
        """
        everything = list(self.network.parameters())
        asked = [parameter.requires_grad for parameter in everything]
        self.network.requires_grad_(True)
        with torch.enable_grad():
            maps = self(torch.zeros(1, 1, _PROBE, _PROBE, device=everything[0].device))
            reached = [
                torch.autograd.grad(one.sum(), everything, retain_graph=True, allow_unused=True)
                for one in maps
            ]
        for parameter, wanted in zip(everything, asked, strict=True):
            parameter.requires_grad_(wanted)
        return {
            parameter: min(scale for scale, gradient in enumerate(gradients) if gradient is not None)
            for parameter, gradients in zip(everything, zip(*reached, strict=True), strict=True)
            if any(gradient is not None for gradient in gradients)
        }

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images float32[N,1,H,W] to three maps float32[N,channels,H/stride,W/stride]."""
        maps: list[Tensor] = self.network.forward_intermediates(  # type: ignore[operator]
            images, indices=SCALES, intermediates_only=True
        )
        return maps


def build_encoder(name: str, weights: Path | None = None) -> Encoder:
    """Build the encoder `name`: "xception-nano", "xception-tiny", or a timm model such as "xception41".

    `weights` is a local file of timm weights for a timm name; its first layer is summed to one channel.
    They are read before normalisation is replaced, so only the running statistics of batch normalisation
    are lost. Raises ConfigError when the name is unknown or the file is missing or does not fit.
    """
    own = _OWN.get(name)
    if own is None:
        network = _timm_network(name, weights)
    elif weights is None:
        network = _own_network(own)
    else:
        raise ConfigError(f"There are no timm weights for {name}, so {weights} can't be loaded into it.")
    return Encoder(without_in_place(replace_batch_norm(network)))


def _own_network(shape: _Xception) -> nn.Module:
    network: nn.Module = XceptionAligned(
        [vars(block).copy() for block in shape.blocks],
        num_classes=0,
        in_chans=1,
        output_stride=16,
        preact=True,
        norm_layer=nn.BatchNorm2d,
        act_layer=partial(nn.ReLU),
        global_pool="",
    )
    # timm's stem works 64 channels wide at half resolution, which would cost more than all blocks together.
    network.stem = nn.Conv2d(1, shape.stem, kernel_size=3, stride=2, padding=1, bias=False)
    return network


def _timm_network(name: str, weights: Path | None) -> nn.Module:
    if not timm.is_model(name):
        raise ConfigError(f"encoder {name!r} is neither one of {', '.join(_OWN)} nor a timm model.")
    network = _new_timm_network(name) if weights is None else _timm_network_from_file(name, weights)
    if not hasattr(network, "forward_intermediates"):
        raise ConfigError(f"encoder {name!r} gives no feature maps; use one of the Xceptions.")
    for block in network.modules():
        _free_of_in_place_sums(block)
        _without_layer_scale(block)
    return network


def _free_of_in_place_sums(block: nn.Module) -> None:
    """Let timm add a block's shortcut to a copy: it adds in place, into an output that gradient hooks still need."""
    if isinstance(block, LegacyBlock):
        block.rep.append(_Copy())
    elif isinstance(block, BasicBlock):
        block.bn2 = nn.Sequential(block.bn2, _Copy())
    elif isinstance(block, Bottleneck):
        block.bn3 = nn.Sequential(block.bn3, _Copy())


def _without_layer_scale(block: nn.Module) -> None:
    """Fold ConvNeXt's scale of a branch into the branch's last layer: the same function, without a bare parameter."""
    if isinstance(block, ConvNeXtBlock) and block.gamma is not None:
        last: nn.Linear | nn.Conv2d = block.mlp.fc2
        scale = block.gamma.detach()
        with torch.no_grad():
            last.weight.mul_(scale.reshape(-1, *[1] * (last.weight.dim() - 1)))
            if last.bias is not None:
                last.bias.mul_(scale)
        block.gamma = None


def _timm_network_from_file(name: str, weights: Path) -> nn.Module:
    if not weights.is_file():
        raise ConfigError(f"The encoder weights {weights} do not exist.")
    try:
        return _new_timm_network(name, pretrained=True, pretrained_cfg_overlay={"file": str(weights)})
    except (RuntimeError, KeyError, ValueError) as error:
        raise ConfigError(f"{weights} does not hold weights of timm's {name}.") from error


def _new_timm_network(name: str, **source: object) -> nn.Module:
    network: nn.Module = timm.create_model(name, in_chans=1, num_classes=0, global_pool="", **source)
    return network


class _Copy(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.clone()
