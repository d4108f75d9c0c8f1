"""How each kind of layer tells its parameters' per-patient gradients from what went through it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import torch
from timm.layers import LayerNorm, LayerNorm2d
from torch import Tensor, nn

from fedchest.errors import UnboundedLossError
from fedchest.learning.convolutions import Convolution
from fedchest.learning.owners import Owners
from fedchest.learning.shares import Kept, Recomputed, Share, squared_norms, squared_norms_recomputed
from fedchest.models.normalization import ChannelAffine, GroupNorm

_LARGEST_KEPT = 1 << 23
"""Values of a parameter's per-patient gradients that are kept for the second use rather than computed again."""

_DOUBLE, _MOVED = 6, 100
"""What a multiplication for scalar products in float64, and writing and reading a value, cost in multiplications for a
gradient in float32: measured on one processor, and decide on nothing but speed."""


@dataclass(frozen=True)
class Passed:
    """What went through a layer: its input, the loss's gradient at its output, and the output's autograd node."""

    layer: nn.Module
    inputs: Tensor
    gradients: Tensor
    node: Any


LayerRule = Callable[[Passed, Owners], Iterable[Share]]
BackwardRule = Callable[[Passed, Owners], tuple[Iterable[Share], Tensor]]
"""A rule that also gives the gradient of the layer's input, so that the layer's own backward pass is not needed."""


def refuse_without_rule(layer: nn.Module, name: str) -> None:
    """Raise UnboundedLossError, which names the layer, where there is no rule of exactly its type.

    A subclass may compute something else with the same weight.
    """
    has_rule = type(layer) in LAYER_RULES or type(layer) in BACKWARD_RULES
    has_other_padding = isinstance(layer, nn.Conv2d) and (
        isinstance(layer.padding, str) or layer.padding_mode != "zeros"
    )
    if not has_rule or has_other_padding:
        raise UnboundedLossError(
            f"Layer {name} is {layer}, whose gradient by patient book-keeping can't tell; freeze it, or use the "
            "Opacus engine."
        )


def _convolution(passed: Passed, owners: Owners) -> Iterable[Share]:
    layer, inputs, gradients = passed.layer, passed.inputs, passed.gradients
    assert isinstance(layer, nn.Conv2d)
    if layer.bias is not None and layer.bias.requires_grad:
        yield Kept(layer.bias, owners.sum(gradients.sum((2, 3))))
    if layer.weight.requires_grad:
        shape = Convolution.of(layer)
        if replace(shape, stride=(1, 1)).is_matrix:
            rows, columns = shape.stride
            shape, inputs = Convolution(), inputs[:, :, ::rows, ::columns].contiguous()
        yield _weight(layer.weight, shape, inputs, gradients, owners)


def _linear(passed: Passed, owners: Owners) -> Iterable[Share]:
    layer = passed.layer
    assert isinstance(layer, nn.Linear)
    # Its positions are the cells of maps that are one cell wide.
    inputs, gradients = (
        values.reshape(len(values), -1, values.shape[-1], 1).transpose(1, 2)
        for values in (passed.inputs, passed.gradients)
    )
    if layer.bias is not None and layer.bias.requires_grad:
        yield Kept(layer.bias, owners.sum(gradients.sum((2, 3))))
    if layer.weight.requires_grad:
        yield _weight(layer.weight, Convolution(), inputs, gradients, owners)


def _group_norm(passed: Passed, owners: Owners) -> tuple[list[Share], Tensor]:
    """All of the backward pass: the affine part's gradients fall out of the input's, which needs the same sums."""
    # The forward pass's statistics; to compute them again would read every input once more.
    mean, deviation = passed.node._saved_result1, passed.node._saved_result2
    return _affine(passed, owners, mean, deviation, with_input=True)


def _channel_affine(passed: Passed, owners: Owners) -> list[Share]:
    mean = passed.inputs.new_zeros(len(passed.inputs), 1)
    return _affine(passed, owners, mean, mean + 1, with_input=False)[0]


def _affine(
    passed: Passed, owners: Owners, mean: Tensor, deviation: Tensor, *, with_input: bool
) -> tuple[list[Share], Tensor]:
    """The shares of scale and shift after normalisation by mean and 1/deviation [N,G], and the input's gradient."""
    layer, inputs = passed.layer, passed.inputs
    assert isinstance(layer, nn.GroupNorm | ChannelAffine)
    rows, channels = inputs.shape[:2]
    cells = prod(inputs.shape[2:])
    # Folding the rows into the channels makes torch's own kernel give one gradient a row.
    by_input, *by_row = torch.ops.aten.native_group_norm_backward(
        passed.gradients.reshape(1, rows * channels, cells),
        inputs.reshape(1, rows * channels, cells),
        mean.view(1, -1).to(inputs.dtype),
        deviation.view(1, -1).to(inputs.dtype),
        layer.weight.expand(rows, channels).reshape(-1),
        1,
        rows * channels,
        cells,
        mean.numel(),
        [with_input, True, True],
    )
    shares: list[Share] = [
        Kept(parameter, owners.sum(values.view(rows, channels)))
        for parameter, values in zip((layer.weight, layer.bias), by_row, strict=True)
        if parameter.requires_grad
    ]
    return shares, by_input.view_as(inputs) if with_input else by_input


def _layer_norm(passed: Passed, owners: Owners) -> Iterable[Share]:
    layer, inputs, gradients = passed.layer, passed.inputs, passed.gradients
    assert isinstance(layer, nn.LayerNorm)
    normalised = nn.functional.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    positions = tuple(range(1, inputs.dim() - len(layer.normalized_shape)))
    by_row = {layer.weight: gradients * normalised, layer.bias: gradients}
    for parameter, values in by_row.items():
        if parameter is not None and parameter.requires_grad:
            yield Kept(parameter, owners.sum(values.sum(positions) if positions else values))


def _layer_norm_2d(passed: Passed, owners: Owners) -> Iterable[Share]:
    """timm's normalises the channels of maps float32[N,C,h,w]."""
    inputs, gradients = (values.permute(0, 2, 3, 1) for values in (passed.inputs, passed.gradients))
    return _layer_norm(replace(passed, inputs=inputs, gradients=gradients), owners)


LAYER_RULES: Mapping[type[nn.Module], LayerRule] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    ChannelAffine: _channel_affine,
    nn.LayerNorm: _layer_norm,
    LayerNorm: _layer_norm,
    LayerNorm2d: _layer_norm_2d,
}

BACKWARD_RULES: Mapping[type[nn.Module], BackwardRule] = {nn.GroupNorm: _group_norm, GroupNorm: _group_norm}


def _weight(weight: Tensor, shape: Convolution, inputs: Tensor, gradients: Tensor, owners: Owners) -> Share:
    """The share of a weight that inputs [N,I,H,W] were convolved with."""
    recomputed = partial(
        Recomputed,
        parameter=weight,
        inputs=inputs,
        gradients=gradients,
        owners=owners,
        gradient=shape.weight_gradient,
    )
    if shape.groups == 1 and _pairs_are_cheaper(weight.numel(), shape, inputs, gradients, owners):
        norms, lengths = _norms_from_pairs(
            shape.window_pairs(_pairs(inputs, owners)), _pairs(gradients, owners)
        )
        norms, lengths = norms.to(gradients.dtype), lengths.to(gradients.dtype)
        return recomputed(squared_norms=squared_norms_recomputed(norms, lengths))
    by_patient = owners.sum(shape.weight_gradients_by_row(inputs, gradients))
    if by_patient.numel() <= _LARGEST_KEPT:
        return Kept(weight, by_patient)
    # By Cauchy and Schwarz; each input cell is in as many windows as the kernel has taps, at most.
    lengths = (
        owners.sum(squared_norms(inputs)) * prod(shape.kernel) * owners.sum(squared_norms(gradients))
    ).sqrt()
    return recomputed(squared_norms=squared_norms_recomputed(squared_norms(by_patient).sqrt(), lengths))


def _pairs_are_cheaper(
    size: int, shape: Convolution, inputs: Tensor, gradients: Tensor, owners: Owners
) -> bool:
    """Whether the norms from pairs and one gradient of all rows cost less than a gradient of `size` for each row."""
    seen, positions = prod(inputs.shape[2:]), prod(gradients.shape[2:])
    gradient = positions * size
    products = seen**2 * inputs.shape[1] + positions**2 * gradients.shape[1]
    shifts = 0 if shape.is_matrix else prod(shape.kernel) * positions**2
    by_pairs = owners.most * (_DOUBLE * products + _MOVED * shifts) + gradient
    by_row = gradient + _MOVED * size
    is_made_twice = size * owners.patients > _LARGEST_KEPT
    return by_pairs < (2 if is_made_twice else 1) * by_row


def _pairs(values: Tensor, owners: Owners) -> Tensor:
    """The scalar products of any two of a patient's cells: float64[P,m,H,W,m,H,W], over its m rows.

    In float64: where positions cancel, float32 could make a large norm small.
    """
    stacked = owners.stack(values.flatten(2)).double()
    shape = (owners.most, *values.shape[2:])
    return torch.bmm(stacked.transpose(1, 2), stacked).view(-1, *shape, *shape)


def _norms_from_pairs(inputs: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Of `sum_t gradients[:,t] inputs[:,t]^T` over a patient's positions t, and the sum of its terms' norms.

    The squared norm is `sum (A^T A) * (G^T G)` over pairs of positions (Goodfellow 2015), cheaper than the gradient
    itself where positions are few. Both arguments are as from `_pairs`, both results float64[P].
    """
    inputs, gradients = (pairs.flatten(4).flatten(1, 3) for pairs in (inputs, gradients))
    norms = (inputs * gradients).sum((1, 2)).clamp(min=0).sqrt()
    terms = (inputs.diagonal(dim1=1, dim2=2) * gradients.diagonal(dim1=1, dim2=2)).sqrt()
    return norms, terms.sum(1)
