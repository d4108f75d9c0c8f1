"""Encoders for grey radiographs: our own small networks and timm's, every batch normalisation replaced."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedchest.errors import ConfigError
from fedchest.models.adapters import add_adapters
from fedchest.models.checkpoints import Source
from fedchest.models.ievit import InputEnhancedTransformer
from fedchest.models.normalization import Normalization, replace_batch_norm, without_in_place
from fedchest.models.small_xceptions import LocalXception, xception_nano, xception_tiny
from fedchest.models.timm_networks import timm_network

SCALES = 3
_PROBE = 64
"""Pixels of the image by which an encoder is asked what depends on what."""


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


def build_encoder(
    name: str,
    weights: Source | None = None,
    *,
    normalization: Normalization = Normalization.GROUP,
    adapter_rank: int = 0,
) -> Encoder:
    """Build the encoder `name`: one of our own, such as "xception-nano", or a timm model such as "xception41".

    `weights`, for a timm name, is a local file (`checkpoints.load_weights`) or "timm" for what timm publishes. They
    are read before normalisation is replaced: scale and shift are kept, and by `FROZEN` the running statistics too.
    With `adapter_rank` above 0 everything is frozen and gets low-rank adapters of that rank. Raises ConfigError when
    the name is unknown, the network can't be an encoder, or the weights are missing or do not fit.
    """
    own = _OWN.get(name)
    if own is None:
        network = timm_network(name, weights, SCALES, _OWN)
    elif weights is None:
        network = own()
    else:
        raise ConfigError(
            f"There are no timm weights for {name}, so the weights {weights} can't be loaded into it."
        )
    network = without_in_place(replace_batch_norm(network, normalization))
    if adapter_rank:
        network = add_adapters(network, adapter_rank)
    return _proven(name, Encoder(network))


def _proven(name: str, encoder: Encoder) -> Encoder:
    """`encoder`, once a small grey image has passed it and made the maps that it promises."""
    try:
        with torch.no_grad():
            maps = encoder(torch.zeros(1, 1, _PROBE, _PROBE))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise ConfigError(
            f"encoder {name!r} can't be used: a grey image of {_PROBE} pixels does not pass it ({error})."
        ) from error
    promised = zip(encoder.channels, encoder.strides, strict=True)
    if [one.shape[1:3] for one in maps] != [
        (width, math.ceil(_PROBE / stride)) for width, stride in promised
    ]:
        raise ConfigError(
            f"encoder {name!r} can't be used: its feature maps are not those that timm describes."
        )
    return encoder


_OWN: Mapping[str, Callable[[], nn.Module]] = {
    "xception-nano": xception_nano,
    "xception-tiny": xception_tiny,
    "xception-local": LocalXception,
    "ievit-tiny": InputEnhancedTransformer,
}
