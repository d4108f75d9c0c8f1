"""The gradient of a convolution's weight, for all rows together or for each by itself."""

import torch
from torch import Tensor, nn


def weight_gradients_by_row(layer: nn.Conv2d, inputs: Tensor, gradients: Tensor) -> Tensor:
    """Fold the rows into the groups: a convolution of N times G groups has N gradients, float32[N,O,I/G,k,k]."""
    rows = len(inputs)
    folded = weight_gradient(
        layer,
        inputs.reshape(1, -1, *inputs.shape[2:]),
        gradients.reshape(1, -1, *gradients.shape[2:]),
        layer.groups * rows,
        rows,
    )
    return folded.view(rows, *layer.weight.shape)


def weight_gradient(
    layer: nn.Conv2d, inputs: Tensor, gradients: Tensor, groups: int, copies: int = 1
) -> Tensor:
    """The weight's gradient of a convolution whose weight stands `copies` times, in `groups`: as torch's backward."""
    weight = layer.weight.detach()
    result: Tensor = torch.ops.aten.convolution_backward(
        gradients,
        inputs,
        weight if copies == 1 else weight.repeat(copies, 1, 1, 1),
        None,
        layer.stride,
        layer.padding,
        layer.dilation,
        False,
        [0, 0],
        groups,
        [False, True, False],
    )[1]
    return result
