"""The autoencoder's stream: maps that fit the encoder's, ways to join them, the image made again."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedchest.errors import ConfigError
from fedchest.models.chest import ModelConfig, Network, Part, build_model
from fedchest.models.dual_stream import JOINS, AutoencoderStream, CrossAttention, Gate, Streams, decoder
from fedchest.models.encoders import build_encoder
from fedchest.models.parameters import Trainable, restrict, trained_parameters

LABELS = ("Atelectasis", "Edema")


def network(streams: Streams, *parts: Part, encoder: str = "xception-nano") -> Network:
    config = ModelConfig(LABELS, encoder, image_size=64, embedding=8, streams=streams, parts=parts)
    model = build_model(config, 0)
    assert isinstance(model, Network)
    return model


def sizes(maps: list[Tensor]) -> list[torch.Size]:
    return [one.shape[2:] for one in maps]


def test_every_pair_of_streams_can_be_joined() -> None:
    assert set(JOINS) == set(Streams) - {Streams.ENCODER, Streams.AUTOENCODER}


@pytest.mark.parametrize("encoder", ["xception-nano", "vgg11_bn", "resnet18"])
def test_the_autoencoders_maps_lie_at_the_encoders_strides(encoder: str) -> None:
    reference, images = build_encoder(encoder), torch.randn(1, 1, 64, 96)
    stream = AutoencoderStream(reference.strides)
    maps = stream(images)
    assert sizes(maps) == sizes(reference(images))
    assert tuple(one.shape[1] for one in maps) == stream.channels


def test_a_stride_may_come_twice() -> None:
    maps = AutoencoderStream((8, 16, 16))(torch.randn(1, 1, 32, 32))
    assert sizes(maps) == [(4, 4), (2, 2), (2, 2)]


@pytest.mark.parametrize("encoder", ["xception-nano", "vgg11_bn", "resnet18"])
@pytest.mark.parametrize("streams", list(JOINS))
def test_streams_are_joined_at_any_image_size(streams: Streams, encoder: str) -> None:
    model, images = network(streams, Part.DECODER, encoder=encoder), torch.randn(2, 1, 70, 53)
    output = model(images)
    assert output.logits.shape == (2, len(LABELS))
    assert output.reconstruction is not None
    assert output.reconstruction.shape == images.shape
    assert sizes(model.decide(images).cells) == sizes(model.streams[0](images))


@pytest.mark.parametrize("streams", list(JOINS))
def test_both_streams_count(streams: Streams) -> None:
    model, images = network(streams), torch.randn(2, 1, 32, 32)
    before = model(images).logits
    for stream in model.streams:
        nn.init.zeros_(next(stream.parameters()))
        after = model(images).logits
        assert not torch.allclose(before, after)
        before = after


def test_an_open_gate_is_the_encoder_and_a_closed_one_the_autoencoder() -> None:
    gate, own, other = Gate(8, 4), torch.randn(2, 8, 3, 3), torch.randn(2, 4, 3, 3)
    nn.init.zeros_(gate.gate.weight)
    for bias, expected in ((50.0, own), (-50.0, gate.other(other)), (0.0, (own + gate.other(other)) / 2)):
        nn.init.constant_(gate.gate.bias, bias)
        torch.testing.assert_close(gate(own, other), expected)


def test_cross_attention_adds_the_values_of_the_cells_whose_keys_fit_the_query() -> None:
    join, own, other = CrossAttention(8, 4), torch.randn(1, 8, 2, 3), torch.randn(1, 4, 3, 5)
    asking, asked = own[0].flatten(1).T, other[0].flatten(1).T
    weights = (join.queries(asking) @ join.keys(asked).T / 8).softmax(1)
    answer = join.answer(weights @ join.values(asked)).T.reshape(own.shape)
    torch.testing.assert_close(join(own, other), own + answer)


def test_the_image_is_made_from_the_autoencoder_where_there_is_one() -> None:
    images = torch.randn(1, 1, 32, 32)
    for streams, source in ((Streams.CONCAT, 1), (Streams.AUTOENCODER, 0), (Streams.ENCODER, 0)):
        model = network(streams, Part.DECODER)
        reconstruction = model(images).reconstruction
        assert reconstruction is not None
        found = torch.autograd.grad(reconstruction.sum(), list(model.parameters()), allow_unused=True)
        reached = {
            id(p) for p, gradient in zip(model.parameters(), found, strict=True) if gradient is not None
        }
        for number, stream in enumerate(model.streams):
            assert any(id(weight) in reached for weight in stream.parameters()) == (number == source)


def test_an_autoencoder_learns_to_make_its_image_again() -> None:
    torch.manual_seed(0)
    model = network(Streams.AUTOENCODER, Part.DECODER)
    coarse = torch.randn(8, 1, 4, 4)
    images = functional.interpolate(coarse, (32, 32), mode="bilinear")
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(images).reconstruction - images).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * images.var()


@pytest.mark.parametrize("stride", [2, 8, 32])
def test_a_decoder_undoes_its_stride(stride: int) -> None:
    assert decoder(24, stride)(torch.randn(1, 24, 2, 3)).shape == (1, 1, 2 * stride, 3 * stride)


def test_first_scales_are_the_first_maps_that_depend_on_a_parameter() -> None:
    stream = AutoencoderStream((4, 8, 16))
    maps = stream(torch.randn(1, 1, 32, 32))
    for parameter, first in stream.first_scales().items():
        gradients = [
            torch.autograd.grad(one.sum(), parameter, retain_graph=True, allow_unused=True)[0] for one in maps
        ]
        assert [gradient is not None for gradient in gradients] == [scale >= first for scale in range(3)]
    assert set(stream.first_scales()) == set(stream.parameters())


def test_both_streams_are_held_still_where_the_head_alone_is_trained() -> None:
    model = network(Streams.GATE)
    restrict(model, Trainable.HEAD)
    trained = set(trained_parameters(model))
    assert trained
    assert not [name for name in trained if name.startswith(("encoder.", "autoencoder."))]
    restrict(model, Trainable.LAST_SCALE)
    more = set(trained_parameters(model)) - trained
    assert {name.partition(".")[0] for name in more} == {"encoder", "autoencoder"}
    assert all(name.startswith("autoencoder.stages.2.") for name in more if name.startswith("auto"))


def test_weights_for_an_encoder_that_is_not_built_are_refused(tmp_path) -> None:
    config = ModelConfig(LABELS, streams=Streams.AUTOENCODER, encoder_weights=tmp_path / "weights")
    with pytest.raises(ConfigError, match=r"model\.streams = autoencoder builds no encoder"):
        build_model(config, 0)
