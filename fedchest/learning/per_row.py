"""Per-row gradients of the convolutions that Xceptions are made of.

Opacus's own sampler for `Conv2d` multiplies every channel with every other and keeps the diagonal, which for
a depthwise convolution of C channels is C times too much work. This one is registered in its place.
"""

import torch
from opacus.grad_sample import compute_group_norm_grad_sample, register_grad_sampler
from opacus.grad_sample.conv import compute_conv_grad_sample
from torch import Tensor, nn

from fedchest.models.normalization import GroupNorm


def _convolution_gradients(
    layer: nn.Conv2d, activations: list[Tensor], backprops: Tensor
) -> dict[Tensor, Tensor]:
    """Gradients of one convolution, row by row: `weight` gets float32[N,*weight.shape].

    Equality with `torch.func` is tested by `tests/learning/test_per_row.py`.
    """
    inputs = activations[0].to(backprops.dtype)
    gradients: dict[Tensor, Tensor] = {}
    if layer.bias is not None and layer.bias.requires_grad:
        gradients[layer.bias] = backprops.sum((2, 3))
    if not layer.weight.requires_grad:
        return gradients
    if _is_pointwise(layer):
        gradients[layer.weight] = _pointwise(layer, inputs, backprops)
    elif _is_depthwise(layer):
        gradients[layer.weight] = _depthwise(layer, inputs, backprops)
    else:
        sampled: dict[Tensor, Tensor] = compute_conv_grad_sample(layer, [inputs], backprops)
        gradients[layer.weight] = sampled[layer.weight]
    return gradients


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return layer.kernel_size == (1, 1) and layer.groups == 1 and layer.padding == (0, 0)


def _is_depthwise(layer: nn.Conv2d) -> bool:
    return layer.groups == layer.in_channels == layer.out_channels and not isinstance(layer.padding, str)


def _pointwise(layer: nn.Conv2d, inputs: Tensor, backprops: Tensor) -> Tensor:
    rows, columns = layer.stride
    seen = inputs[:, :, ::rows, ::columns].flatten(2)
    return torch.bmm(backprops.flatten(2), seen.transpose(1, 2)).view(-1, *layer.weight.shape)


def _depthwise(layer: nn.Conv2d, inputs: Tensor, backprops: Tensor) -> Tensor:
    """One kernel tap at a time: the product of the output's gradient with the input that the tap saw."""
    padding, stride, dilation = layer.padding, layer.stride, layer.dilation
    padded = nn.functional.pad(inputs, (padding[1], padding[1], padding[0], padding[0]))  # type: ignore[arg-type]
    height, width = backprops.shape[2:]
    taps = []
    for row in range(layer.kernel_size[0]):
        for column in range(layer.kernel_size[1]):
            top, left = row * dilation[0], column * dilation[1]
            seen = padded[
                :,
                :,
                top : top + (height - 1) * stride[0] + 1 : stride[0],
                left : left + (width - 1) * stride[1] + 1 : stride[1],
            ]
            taps.append((seen * backprops).sum((2, 3)))
    return torch.stack(taps, dim=2).view(-1, *layer.weight.shape)


def install() -> None:
    """Register the samplers with Opacus, for every model of this process."""
    register_grad_sampler(nn.Conv2d)(_convolution_gradients)
    register_grad_sampler(GroupNorm)(compute_group_norm_grad_sample)
