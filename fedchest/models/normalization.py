"""Group normalisation in place of batch normalisation: an image's output depends on that image only."""

import math

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from fedchest.errors import UnboundedLossError

GROUPS = 8


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` that survives channels-last inputs from a frozen layer.

    torch 2.13 crashes in the backward pass when such an input needs no gradient.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs if inputs.requires_grad else inputs.contiguous())


class ChannelAffine(nn.Module):
    """`y = x * weight + bias`, one factor and one summand float32[C] for each channel of maps [N,C,h,w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.weight[:, None, None] + self.bias[:, None, None]


def replace_batch_norm(module: nn.Module) -> nn.Module:
    """Replace every batch normalisation below `module` by group normalisation, keeping scale and shift.

    timm's fused `BatchNormAct2d` becomes normalisation followed by its activation. Running statistics are
    dropped: they are averages over other images.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, _group_norm_like(child))
        else:
            replace_batch_norm(child)
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
    if isinstance(batch_norm, BatchNormAct2d):
        return nn.Sequential(normalisation, batch_norm.act)
    return normalisation
