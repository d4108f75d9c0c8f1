"""Per-row gradients against `torch.func`, an independent way to get them."""

import pytest
import torch
from opacus.grad_sample import GradSampleHooks
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import fedchest.learning.opacus_hooks  # noqa: F401  (registers the samplers)
from fedchest.learning.objectives import masked_bce
from fedchest.models.chest import ChestModel


def by_hooks(module: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    hooks = GradSampleHooks(module, loss_reduction="sum")
    module(inputs).square().sum().backward()
    gradients = {name: parameter.grad_sample.clone() for name, parameter in module.named_parameters()}
    hooks.cleanup()
    return gradients


def by_torch_func(module: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    def loss(weights: dict[str, Tensor], row: Tensor) -> Tensor:
        return functional_call(module, weights, (row[None],)).square().sum()

    return vmap(grad(loss), in_dims=(None, 0))(dict(module.named_parameters()), inputs)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8),
        nn.Conv2d(8, 8, 5, padding=(2, 1), groups=8),
        nn.Conv2d(8, 12, 1),
        nn.Conv2d(8, 12, 1, stride=2, bias=False),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.Conv2d(8, 16, 3, padding=1, groups=4),
        nn.Conv2d(8, 16, 3, padding=1, groups=8),
    ],
    ids=str,
)
def test_a_convolution(layer: nn.Conv2d) -> None:
    inputs = torch.randn(5, 8, 10, 12)
    expected = by_torch_func(layer, inputs)
    for name, gradients in by_hooks(layer, inputs).items():
        torch.testing.assert_close(gradients, expected[name], rtol=1e-4, atol=1e-4)


def test_the_whole_model(model: ChestModel) -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            output, truth = self.model(images), torch.ones(len(images), 2)
            rows = masked_bce(output.logits, truth, truth) + masked_bce(output.prototype_logits, truth, truth)
            return rows.sqrt()

    images = torch.rand(3, 1, 32, 32)
    expected = by_torch_func(Loss(), images)
    for name, gradients in by_hooks(Loss(), images).items():
        torch.testing.assert_close(gradients, expected[name], rtol=1e-3, atol=1e-5, msg=name)
