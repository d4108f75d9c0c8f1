"""Normalisation without batch statistics: an image's output depends on that image only."""

import math
from collections.abc import Callable, Mapping
from enum import StrEnum

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from fedchest.errors import UnboundedLossError

GROUPS = 8


class Normalization(StrEnum):
    """What stands in place of batch normalisation.

    `GROUP` normalises each image by itself. `FROZEN` keeps the running statistics of public pretraining as a
    fixed affine map of each channel, which normalises nothing more.
    """

    GROUP = "group"
    FROZEN = "frozen"


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` that survives channels-last inputs from a frozen layer.

    torch 2.13 crashes in the backward pass when such an input needs no gradient.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs if inputs.requires_grad else inputs.contiguous())


class ChannelAffine(nn.Module):
    """y = x * weight + bias for each channel of maps float32[N,C,h,w]; both parameters are float32[C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.weight[:, None, None] + self.bias[:, None, None]


def replace_batch_norm(module: nn.Module, normalization: Normalization = Normalization.GROUP) -> nn.Module:
    """Replace every batch normalisation below `module`.

    By `GROUP` scale and shift are kept and the running statistics dropped; by `FROZEN` the network becomes what
    it was in evaluation mode. timm's fused `BatchNormAct2d` becomes the replacement followed by its activation.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            replacement = _REPLACEMENTS[normalization](child)
            if isinstance(child, BatchNormAct2d):
                replacement = nn.Sequential(replacement, child.act)
            setattr(module, name, replacement)
        else:
            replace_batch_norm(child, normalization)
    return module


def without_in_place(module: nn.Module) -> nn.Module:
    """Switch off in-place activations below `module`; gradient hooks read what they would overwrite."""
    for child in module.modules():
        if getattr(child, "inplace", False):
            setattr(child, "inplace", False)  # noqa: B010
    return module


def group_norm(channels: int) -> GroupNorm:
    """Group normalisation with 8 groups, or as many as divide `channels`."""
    return GroupNorm(math.gcd(GROUPS, channels), channels)


def refuse_batch_coupling(model: nn.Module) -> None:
    """Raise UnboundedLossError when a layer of `model` lets one patient's image change another's gradient.

    Whatever carries a buffer is refused with it: a buffer is state that private images would leave un-noised.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise UnboundedLossError(
                f"Layer {name} is a batch normalisation, which mixes the patients of a batch, so one "
                "patient's contribution has no bound; use group normalisation."
            )
        if next(layer.buffers(recurse=False), None) is not None:
            raise UnboundedLossError(
                f"Layer {name} keeps a buffer beside its parameters, which would record private images "
                "without noise; use a layer without buffers."
            )


def _group_norm_like(batch_norm: nn.BatchNorm2d) -> nn.Module:
    normalisation = group_norm(batch_norm.num_features)
    if batch_norm.affine:
        normalisation.weight = batch_norm.weight
        normalisation.bias = batch_norm.bias
    return normalisation


@torch.no_grad()
def _affine_like(batch_norm: nn.BatchNorm2d) -> nn.Module:
    """Ioffe and Szegedy 2015, algorithm 2, step 11: the inference form."""
    affine = ChannelAffine(batch_norm.num_features)
    assert batch_norm.running_mean is not None and batch_norm.running_var is not None
    if batch_norm.affine:
        affine.weight.copy_(batch_norm.weight)
        affine.bias.copy_(batch_norm.bias)
    affine.weight.div_(torch.sqrt(batch_norm.running_var + batch_norm.eps))
    affine.bias.sub_(batch_norm.running_mean * affine.weight)
    return affine


_REPLACEMENTS: Mapping[Normalization, Callable[[nn.BatchNorm2d], nn.Module]] = {
    Normalization.GROUP: _group_norm_like,
    Normalization.FROZEN: _affine_like,
}
