"""What a convolution's norm is taken from, against windows laid out one by one."""

import pytest
import torch
from torch import nn

from fedchest.learning.convolutions import Convolution

LAYERS = [
    nn.Conv2d(3, 4, 3, padding=1),
    nn.Conv2d(3, 4, 3, stride=2, padding=1),
    nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=(2, 0), dilation=(2, 1)),
    nn.Conv2d(3, 4, 1, padding=1),
    nn.Conv2d(3, 4, 4, stride=4),
    nn.Conv2d(3, 4, 1),
]

GROUPED = [
    nn.Conv2d(4, 6, 3, groups=2),
    nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4),
    nn.Conv2d(4, 4, (2, 3), stride=(3, 1), padding=(1, 0), dilation=(1, 3), groups=4),
    nn.Conv2d(4, 8, 3, padding=1, groups=4),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_products_of_windows_are_shifted_products_of_pixels(layer: nn.Conv2d) -> None:
    patients, images, height, width = 2, 3, 8, 9
    maps = torch.randn(patients, images, 3, height, width, dtype=torch.float64)
    cells = maps.transpose(1, 2).flatten(2)
    pixels = torch.bmm(cells.transpose(1, 2), cells).view(patients, *2 * (images, height, width))
    windows = nn.functional.unfold(
        maps.flatten(0, 1), layer.kernel_size, layer.dilation, layer.padding, layer.stride
    )
    seen = windows.unflatten(0, (patients, images)).transpose(1, 2).flatten(2)
    expected = torch.bmm(seen.transpose(1, 2), seen)
    found = Convolution.of(layer).window_pairs(pixels)
    torch.testing.assert_close(found.flatten(4).flatten(1, 3), expected)


@pytest.mark.parametrize("layer", [*LAYERS, *GROUPED], ids=str)
def test_a_weight_gradient_is_the_sum_of_its_rows(layer: nn.Conv2d) -> None:
    inputs = torch.randn(5, layer.in_channels, 8, 9)
    output = layer(inputs)
    gradients = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, layer.weight, gradients)
    shape = Convolution.of(layer)
    torch.testing.assert_close(shape.weight_gradient(inputs, gradients), expected, rtol=1e-4, atol=1e-4)
    by_row = shape.weight_gradients_by_row(inputs, gradients)
    torch.testing.assert_close(by_row.sum(0), expected, rtol=1e-4, atol=1e-4)
