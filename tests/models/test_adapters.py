"""Low-rank adapters: nothing changes at the start, little is trained, and the sum is that of a merged layer."""

import pytest
import torch
from torch import Tensor, nn

from fedchest.errors import ConfigError
from fedchest.learning.bookkeeping import book_keeping
from fedchest.learning.owners import Owners
from fedchest.models.adapters import add_adapters, is_adapter
from fedchest.models.encoders import Encoder, build_encoder

ENCODERS = ["xception-nano", "ievit-tiny", "test_resnet", "test_vit", "efficientnet_b0", "convnext_atto"]


def adapted(name: str, rank: int) -> Encoder:
    torch.manual_seed(0)
    return build_encoder(name, adapter_rank=rank)


def plain(name: str) -> Encoder:
    torch.manual_seed(0)
    return build_encoder(name)


def moved(encoder: nn.Module) -> nn.Module:
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if is_adapter(name):
                parameter.add_(torch.randn_like(parameter) / 10)
    return encoder


@pytest.mark.parametrize("name", ENCODERS)
def test_a_new_adapter_changes_nothing_and_a_moved_one_does(name: str) -> None:
    images = torch.rand(2, 1, 64, 64)
    encoder, expected = adapted(name, 2), plain(name)(images)
    for one, other in zip(encoder(images), expected, strict=True):
        torch.testing.assert_close(one, other)
    moved(encoder)
    assert all(not torch.allclose(one, other) for one, other in zip(encoder(images), expected, strict=True))


@pytest.mark.parametrize("name", ENCODERS)
def test_adapters_alone_are_trained_and_each_has_a_rule(name: str) -> None:
    encoder = moved(adapted(name, 2))
    trained = [key for key, parameter in encoder.named_parameters() if parameter.requires_grad]
    assert trained and all(map(is_adapter, trained))
    before = sum(parameter.numel() for parameter in plain(name).parameters())
    assert (
        sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad) < before / 4
    )
    with book_keeping(encoder) as books:
        loss = torch.stack(
            [one.mean((2, 3)).square().sum() for one in encoder(torch.rand(2, 1, 64, 64))]
        ).sum()
        gradient = books.clipped_sum(loss, Owners(torch.arange(2), 2), 1.0)
    assert gradient.isfinite().all() and gradient.norm() > 0


def test_only_adapters_are_recognised_by_name() -> None:
    names = [name for name, _ in adapted("xception-nano", 2).named_parameters()]
    found = [name for name in names if is_adapter(name)]
    assert any(".adapter_down." in name for name in found) and any(".adapter_up." in name for name in found)
    assert {name.replace(".base.", ".") for name in names if name not in found} == {
        name for name, _ in plain("xception-nano").named_parameters()
    }


def merged(layer: nn.Module) -> Tensor:
    """W + BA (Hu et al. 2022, section 4.1), a convolution's kernel read as columns of the matrix."""
    up, down = (part.weight.flatten(1) for part in (layer.adapter_up, layer.adapter_down))
    product: Tensor = layer.base.weight + (up @ down).view_as(layer.base.weight)
    return product


def test_a_linear_layer_with_an_adapter_is_the_merged_layer() -> None:
    network = moved(add_adapters(nn.Sequential(nn.Linear(8, 6)), 3))
    inputs = torch.randn(4, 5, 8)
    expected = nn.functional.linear(inputs, merged(network[0]), network[0].base.bias)
    torch.testing.assert_close(network(inputs), expected)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(1, 1, 0, 1), (1, 2, 0, 1), (3, 2, 1, 1), (3, 1, 2, 2)]
)
def test_a_convolution_with_an_adapter_is_the_merged_convolution(
    kernel: int, stride: int, padding: int, dilation: int
) -> None:
    convolution = nn.Conv2d(8, 6, kernel, stride, padding, dilation)
    network = moved(add_adapters(nn.Sequential(convolution), 3))
    inputs = torch.randn(2, 8, 9, 9)
    expected = nn.functional.conv2d(inputs, merged(network[0]), convolution.bias, stride, padding, dilation)
    torch.testing.assert_close(network(inputs), expected)


def test_grouped_and_thin_layers_stay_as_they_are() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Linear(8, 2), nn.Linear(8, 8))
    add_adapters(network, 2)
    assert {name.split(".")[0] for name, _ in network.named_parameters() if is_adapter(name)} == {"2"}
    assert not [name for name, value in network.named_parameters() if value.requires_grad and name[0] != "2"]


@pytest.mark.parametrize(
    ("rank", "complaint"), [(-1, "adapter_rank -1 is not allowed"), (5000, "adapter_rank 5000 is not below")]
)
def test_a_rank_that_no_adapter_can_have_is_refused(rank: int, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build_encoder("xception-nano", adapter_rank=rank)
