"""Encoders: what timm computes, for grey images of any size, with gradients that can be told by patient."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fedchest.errors import ConfigError
from fedchest.learning.bookkeeping import book_keeping
from fedchest.learning.owners import Owners
from fedchest.models.encoders import Encoder, build_encoder
from fedchest.models.normalization import (
    ChannelAffine,
    Normalization,
    refuse_batch_coupling,
    replace_batch_norm,
)

SLOW = pytest.mark.slow
ENCODERS = [
    "xception-nano",
    "xception-tiny",
    "xception-local",
    "ievit-tiny",
    "mobilenetv3_small_100",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "efficientnet_b0",
    "resnet18",
    *(
        pytest.param(name, marks=SLOW)
        for name in (
            "densenet121",
            "legacy_xception",
            "xception41",
            "xception65",
            "xception71",
            "vgg11",
            "vgg11_bn",
            "resnet50",
            "convnext_tiny",
        )
    ),
]


def images(count: int, size: int = 64) -> Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0))


def seeded(name: str, normalization: Normalization = Normalization.GROUP) -> Encoder:
    torch.manual_seed(0)
    return build_encoder(name, normalization=normalization)


def randomised(network: nn.Module) -> nn.Module:
    """Every parameter and statistic away from its start, where a wrong one would not show."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if value.dim() == 1:
                value.copy_(
                    torch.rand_like(value) + 0.5 if "bias" not in name else torch.randn_like(value) / 5
                )
    return network


def saved(network: nn.Module, folder: Path) -> Path:
    file = folder / "weights.safetensors"
    save_file(network.state_dict(), file)
    return file


def colour_maps(network: nn.Module, grey: Tensor) -> list[Tensor]:
    """The oracle: timm's own answer, in evaluation mode, to the same image in three equal colours."""
    network.eval()
    maps: list[Tensor] = network.forward_intermediates(
        grey.repeat(1, 3, 1, 1), indices=3, intermediates_only=True
    )
    return maps


def assert_same_maps(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("name", ENCODERS)
def test_three_maps_of_the_width_and_scale_that_the_encoder_says(name: str) -> None:
    encoder = seeded(name)
    refuse_batch_coupling(encoder)
    for one, channels, stride in zip(encoder(images(2)), encoder.channels, encoder.strides, strict=True):
        assert one.shape == (2, channels, 64 // stride, 64 // stride)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_clipped_sum_of_patients_gradients_is_that_of_each_patient_alone(name: str) -> None:
    """Every parameter that a map depends on has a rule, and the network keeps its patients apart."""
    encoder = seeded(name)
    scales = encoder.first_scales()
    encoder.double()
    for parameter in encoder.parameters():
        parameter.requires_grad_(parameter in scales)
    trained = list(scales)

    def loss(some: Tensor) -> Tensor:
        return torch.stack([one.mean((2, 3)).square().sum() for one in encoder(some)]).sum()

    batch = images(2).double()
    expected = torch.zeros(sum(parameter.numel() for parameter in trained), dtype=torch.float64)
    norms = []
    for image in batch:
        flat = torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss(image[None]), trained)])
        norms.append(float(flat.norm()))
        expected += flat / norms[-1]
    with book_keeping(encoder) as books:
        found = books.clipped_sum(loss(batch), Owners(torch.arange(2), 2), 1.0)
    assert min(norms) > 1.0, "nothing would be clipped"
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv3_small_100",
        "resnet18",
        pytest.param("densenet121", marks=SLOW),
        pytest.param("legacy_xception", marks=SLOW),
        pytest.param("vgg11_bn", marks=SLOW),
    ],
)
def test_frozen_statistics_give_what_timm_gives_in_evaluation_mode(name: str, tmp_path: Path) -> None:
    source = randomised(timm.create_model(name))
    encoder = build_encoder(name, saved(source, tmp_path), normalization=Normalization.FROZEN)
    refuse_batch_coupling(encoder)
    assert any(isinstance(layer, ChannelAffine) for layer in encoder.modules())
    with torch.no_grad():
        assert_same_maps(encoder(images(2)), colour_maps(source, images(2)))


@pytest.mark.parametrize("affine", [True, False])
def test_a_folded_batch_norm_is_the_one_it_was(affine: bool) -> None:
    source = randomised(nn.Sequential(nn.BatchNorm2d(6, affine=affine)))
    source[0].running_mean.normal_()
    expected = source.eval()(torch.ones(2, 6, 3, 3))
    folded = replace_batch_norm(source, Normalization.FROZEN)
    torch.testing.assert_close(folded(torch.ones(2, 6, 3, 3)), expected)
    assert {name for name, _ in folded.named_parameters()} == {"0.weight", "0.bias"}


@pytest.mark.parametrize("size", [64, 75, 224])
@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224", "vit_wee_patch16_reg1_gap_256"])
def test_a_vision_transformer_gives_what_timm_gives_at_any_size(name: str, size: int, tmp_path: Path) -> None:
    """Learned positions resampled; with a class token or registers, with a layer scale or none."""
    source = randomised(timm.create_model(name, dynamic_img_size=True, dynamic_img_pad=True))
    encoder = build_encoder(name, saved(source, tmp_path))
    with torch.no_grad():
        assert_same_maps(encoder(images(1, size)), colour_maps(source, images(1, size)))
    assert not list(encoder.buffers())


def test_convnexts_scale_of_its_branches_is_kept_without_its_parameter(tmp_path: Path) -> None:
    source = randomised(timm.create_model("convnext_atto"))
    encoder = build_encoder("convnext_atto", saved(source, tmp_path))
    with torch.no_grad():
        assert_same_maps(encoder(images(2)), colour_maps(source, images(2)))
    assert not [name for name, _ in encoder.named_parameters() if name.endswith("gamma")]


@pytest.mark.parametrize("name", ["ievit-tiny", "vit_tiny_patch16_224"])
def test_tokens_of_an_image_do_not_see_those_of_another(name: str) -> None:
    encoder, batch = seeded(name), images(3)
    together, changed = encoder(batch), encoder(torch.cat([batch[:1], 1 - batch[1:]]))
    for one, other in zip(together, changed, strict=True):
        torch.testing.assert_close(one[0], other[0])


def test_every_block_of_the_input_enhanced_transformer_sees_the_image_anew() -> None:
    network = seeded("ievit-tiny").network
    seen: list[Tensor] = []
    for block in network.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.forward_intermediates(images(2), indices=3)
    whole_image = network.whole_image(images(2))
    assert [tokens.shape[1] for tokens in seen] == [64 + 1 + earlier for earlier in range(len(seen))]
    for tokens in seen:
        torch.testing.assert_close(tokens[:, -1], whole_image)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("xception-nanno", "did you mean xception-nano"),
        ("densnet121", "densenet121"),
        ("resnet-of-mine", "resnet-of-mine"),
        ("zzzzzzzz", "use one of xception-nano"),
        ("swin_tiny_patch4_window7_224", "64 pixels does not pass it"),
        ("crossvit_tiny_240", "not those that timm describes"),
    ],
)
def test_an_encoder_that_can_not_be_used_says_why(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        build_encoder(name)


def private_gradient(network: nn.Module, loss: Callable[[], Tensor]) -> Tensor:
    with book_keeping(network) as books:
        return books.clipped_sum(loss(), Owners(torch.arange(2), 2), 1.0)


@SLOW
def test_the_full_size_network_takes_a_plain_and_a_private_step() -> None:
    encoder = seeded("legacy_xception")
    network = nn.Sequential(encoder, _LastMap(), nn.Linear(encoder.channels[-1], 14))
    batch, targets = images(2, 320), torch.tensor([[0.0] * 7 + [1.0] * 7] * 2)
    trained = list(network.parameters())

    def loss() -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(network(batch), targets, reduction="sum")

    def stepped(gradients: list[Tensor]) -> float:
        """The loss after the step, every tensor having moved."""
        assert all(gradient.isfinite().all() for gradient in gradients)
        before = [parameter.detach().clone() for parameter in trained]
        with torch.no_grad():
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter -= 1e-3 * gradient
            assert not any(torch.equal(one, other) for one, other in zip(before, trained, strict=True))
            return float(loss())

    start = float(loss().detach())
    after_plain = stepped(list(torch.autograd.grad(loss(), trained)))
    flat = private_gradient(network, loss)
    assert float(flat.norm()) <= 2.0 * (1 + 1e-5)
    pieces = flat.split([parameter.numel() for parameter in trained])
    after_private = stepped(
        [piece.view_as(parameter) for piece, parameter in zip(pieces, trained, strict=True)]
    )
    assert after_private < after_plain < start


class _LastMap(nn.Module):
    def forward(self, maps: list[Tensor]) -> Tensor:
        return maps[-1].mean((2, 3))
