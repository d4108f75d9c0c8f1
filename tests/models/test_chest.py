"""The network: independent rows, no batch statistics, public seeds, named weights, parts, ensembles."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional

from fedchest.errors import ConfigError, StoreError, UnboundedLossError
from fedchest.models.chest import ChestModel, ModelConfig, Output, Part, build_model
from fedchest.models.heads import Head
from fedchest.models.normalization import refuse_batch_coupling, replace_batch_norm
from fedchest.models.parameters import Trainable, load_parameters, parameters, restrict, trained_parameters

LABELS = ("Atelectasis", "Cardiomegaly", "Edema")

EVERYTHING = ModelConfig(
    ("Consolidation", "Fracture", "Pneumonia"),
    image_size=32,
    embedding=8,
    hierarchy=True,
    multiclass=("Fracture", "Consolidation"),
    parts=tuple(Part),
)
FIELDS: Mapping[Part, str] = {
    Part.PROJECTOR: "embedding",
    Part.PROTOTYPES: "prototype_logits",
    Part.PREDICTOR: "prediction",
    Part.CLUSTERS: "clusters",
    Part.ROTATION: "rotation",
    Part.DECODER: "reconstruction",
}


def small_model(encoder: str = "xception-nano", seed: int = 0) -> ChestModel:
    return build_model(ModelConfig(LABELS, encoder=encoder, image_size=32, embedding=16), seed)


def images(count: int, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "encoder",
    [
        "xception-nano",
        "xception-tiny",
        "xception-local",
        pytest.param("xception41", marks=pytest.mark.slow),
        pytest.param("xception41p", marks=pytest.mark.slow),
        pytest.param("legacy_xception", marks=pytest.mark.slow),
        pytest.param("resnet18", marks=pytest.mark.slow),
        pytest.param("resnet50", marks=pytest.mark.slow),
        pytest.param("densenet121", marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", marks=pytest.mark.slow),
        pytest.param("mobilenetv3_small_100", marks=pytest.mark.slow),
        pytest.param("convnext_atto", marks=pytest.mark.slow),
    ],
)
def test_every_encoder_trains_without_batch_norm_and_buffers(encoder: str) -> None:
    model = small_model(encoder)
    assert not [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert not list(model.buffers())
    output = model(images(2))
    assert output.logits.shape == output.prototype_logits.shape == (2, 3)
    assert output.embedding.shape == (2, 16)
    (output.logits.sum() + output.prototype_logits.sum()).backward()
    touched = [parameter.grad is not None for parameter in model.parameters()]
    assert sum(touched) > len(touched) // 2


def said(output: Output) -> dict[str, Tensor]:
    return {name: value for name, value in output._asdict().items() if value is not None}


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (parameters(small_model(seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("part", list(Part))
def test_a_part_that_is_asked_for_answers_and_no_other(part: Part) -> None:
    output = build_model(ModelConfig(LABELS, image_size=32, embedding=8, parts=(part,)), 0)(images(2))
    needed = {"embedding"} if part in (Part.PROTOTYPES, Part.PREDICTOR, Part.CLUSTERS) else set()
    assert set(said(output)) == {"logits", FIELDS[part]} | needed


def test_a_classifier_alone_has_no_other_weights() -> None:
    bare = build_model(ModelConfig(LABELS, image_size=32, parts=()), 0)
    assert {name.partition(".")[0] for name in parameters(bare)} == {"encoder", "head"}


def test_what_the_parts_say_has_the_promised_shape_and_range() -> None:
    output = build_model(EVERYTHING, 0)(images(2))
    shapes = {name: tuple(value.shape) for name, value in said(output).items()}
    assert shapes == {
        "logits": (2, 3),
        "uncertainty": (2, 3),
        "embedding": (2, 8),
        "prototype_logits": (2, 3),
        "prediction": (2, 8),
        "clusters": (2, 32),
        "rotation": (2, 4),
        "reconstruction": (2, 1, 32, 32),
    }
    torch.testing.assert_close(output.embedding.norm(dim=1), torch.ones(2))
    assert output.clusters.abs().max() <= 1


def test_centres_count_by_their_direction_and_not_by_their_length() -> None:
    model = build_model(EVERYTHING, 0)
    before = model(images(2))
    with torch.no_grad():
        model.prototypes.pairs.centres.weight.mul_(7)
        model.clusters.centres.weight.mul_(7)
    after = model(images(2))
    torch.testing.assert_close(before.prototype_logits, after.prototype_logits)
    torch.testing.assert_close(before.clusters, after.clusters)
    centres = functional.normalize(model.clusters.centres.weight, dim=1)
    torch.testing.assert_close(after.clusters, after.embedding @ centres.T)


def test_uncertain_is_an_answer_of_the_labels_that_have_it() -> None:
    model = build_model(EVERYTHING, 0)
    output = model(images(2))
    third = torch.softmax(torch.stack([torch.zeros(2, 3), output.logits, output.uncertainty]), dim=0)[2]
    assert (third[:, 2] == 0).all()
    assert (third[:, :2] > 0).all()
    with torch.no_grad():  # the head's last outputs are those of `multiclass`, in its order
        for scale in model.head.scales:
            scale[-1].bias[3] += 1
    torch.testing.assert_close(
        model(images(2)).uncertainty - output.uncertainty, torch.tensor([[0.0, 3.0, 0.0]]).expand(2, 3)
    )
    torch.testing.assert_close(model(images(2)).logits, output.logits)


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    config = replace(EVERYTHING, members=3, head=Head.ATTENTION)
    ensemble, batch = build_model(config, 5), images(2)
    members = list(ensemble.members)
    assert len(members) == 3
    assert ensemble.config == config
    assert all(name.startswith(("members.0.", "members.1.", "members.2.")) for name in parameters(ensemble))

    def mean(values: list[Tensor]) -> Tensor:
        return sum(values) / 3

    output, decision = ensemble(batch), ensemble.decide(batch)
    torch.testing.assert_close(output.logits, mean([member(batch).logits for member in members]))
    torch.testing.assert_close(output.uncertainty, mean([member(batch).uncertainty for member in members]))
    torch.testing.assert_close(ensemble.predict(batch), mean([member.predict(batch) for member in members]))
    torch.testing.assert_close(decision.by_scale.sum(1), output.logits)
    decisions = [member.decide(batch) for member in members]
    for scale, cells in enumerate(decision.cells):
        torch.testing.assert_close(cells, mean([one.cells[scale] for one in decisions]))


def test_an_ensembles_members_differ_and_the_first_is_the_single_network() -> None:
    config = ModelConfig(LABELS, image_size=32, embedding=8)
    single, ensemble = build_model(config, 5), build_model(replace(config, members=2), 5)
    assert list(single.members) == [single]
    assert ensemble.strides == single.strides == (4, 8, 16)
    first, second = ensemble.members
    torch.testing.assert_close(first(images(2)), single(images(2)))
    assert not torch.allclose(first(images(2)).logits, second(images(2)).logits)


def test_an_ensemble_is_restricted_as_each_member_would_be() -> None:
    config = ModelConfig(LABELS, image_size=32, embedding=8)
    single, ensemble = build_model(config, 5), build_model(replace(config, members=2), 5)
    for model in (single, ensemble):
        restrict(model, Trainable.LAST_SCALE)
    trained = set(trained_parameters(single))
    assert set(trained_parameters(ensemble)) == {f"members.{i}.{name}" for i in (0, 1) for name in trained}


def test_a_configuration_survives_json() -> None:
    stored = json.dumps(asdict(EVERYTHING))
    adapter = TypeAdapter(ModelConfig)
    assert adapter.validate_json(stored) == adapter.validate_json(adapter.dump_json(EVERYTHING)) == EVERYTHING
    assert hash(EVERYTHING) == hash(replace(EVERYTHING))


def test_plain_and_fused_batch_norms_are_replaced_with_their_scale() -> None:
    from timm.layers import BatchNormAct2d

    module = nn.Sequential(nn.BatchNorm2d(16), BatchNormAct2d(16))
    with torch.no_grad():
        module[0].weight.fill_(2.0)
        module[1].bias.fill_(-9.0)
    replace_batch_norm(module)
    refuse_batch_coupling(module)
    assert module(torch.randn(2, 16, 4, 4)).abs().max() == 0, "the fused activation was lost, or the bias"


def test_batch_norm_is_refused_by_name() -> None:
    with pytest.raises(UnboundedLossError, match=r"Layer 1 is a batch normalisation"):
        refuse_batch_coupling(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4, affine=False)))
    with pytest.raises(UnboundedLossError, match="buffer"):
        refuse_batch_coupling(nn.Sequential(nn.InstanceNorm2d(4, track_running_stats=True)))


@pytest.mark.parametrize("trainable", list(Trainable))
def test_only_what_the_study_trains_gets_gradients(trainable: Trainable) -> None:
    model = small_model()
    restrict(model, trainable)
    trained = set(trained_parameters(model))
    assert {name for name in parameters(model) if not name.startswith("encoder.")} <= trained
    if trainable is Trainable.ALL:
        assert trained == set(parameters(model))
    if trainable is Trainable.HEAD:
        assert not any(name.startswith("encoder.") for name in trained)
    model(images(2)).logits.sum().backward()
    assert all(value.grad is None for name, value in model.named_parameters() if name not in trained)


@pytest.mark.parametrize(
    "encoder",
    ["xception-nano", "xception-local", "legacy_xception", "xception41p", "efficientnet_b0", "vgg11_bn"],
)
@pytest.mark.parametrize(("trainable", "frozen"), [(Trainable.LAST_TWO_SCALES, 1), (Trainable.LAST_SCALE, 2)])
def test_the_last_scales_are_all_that_the_maps_before_do_not_need(
    encoder: str, trainable: Trainable, frozen: int
) -> None:
    network = build_model(ModelConfig(LABELS, encoder=encoder, image_size=64, embedding=16), 0)
    restrict(network, trainable)
    trained = [parameter for parameter in network.encoder.parameters() if parameter.requires_grad]
    network.requires_grad_(True)
    maps = network.encoder(images(1, 64))
    for one in maps[:frozen]:
        one.sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in trained)
    for one in maps[frozen:]:
        one.sum().backward(retain_graph=True)
    assert trained or encoder == "vgg11_bn", "its last map is only pooled from the one before"
    assert all(parameter.grad is not None for parameter in trained)


@pytest.mark.parametrize("encoder", ["xception-nano", "efficientnet_b0"])
def test_nothing_is_trained_that_no_logit_depends_on(encoder: str) -> None:
    """It would receive noise and nothing else."""
    network = small_model(encoder)
    restrict(network, Trainable.ALL)
    output = network(images(2))
    (output.logits.sum() + output.prototype_logits.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)


def test_weights_make_the_round_trip() -> None:
    source, target = small_model(seed=1), small_model(seed=2)
    load_parameters(target, parameters(source))
    torch.testing.assert_close(source(images(2)), target(images(2)))


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(StoreError, match="nonsense"):
        load_parameters(small_model(), {"nonsense": np.zeros(3, np.float32)})
    with pytest.raises(StoreError, match=r"centres\.weight"):
        load_parameters(small_model(), {"prototypes.pairs.centres.weight": np.zeros(3, np.float32)})


def test_settings_that_no_model_can_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resnet-of-mine"):
        build_model(ModelConfig(LABELS, encoder="resnet-of-mine"), 0)
    with pytest.raises(ConfigError, match="image_size 16"):
        build_model(ModelConfig(LABELS, image_size=16), 0)
    with pytest.raises(ConfigError, match="label_names"):
        build_model(ModelConfig(()), 0)
    with pytest.raises(ConfigError, match=r"model\.members = 0"):
        build_model(ModelConfig(LABELS, members=0), 0)
    with pytest.raises(ConfigError, match=r"model\.multiclass names 'Fracture'.*Atelectasis"):
        build_model(ModelConfig(LABELS, multiclass=("Fracture",)), 0)
    absent = tmp_path / "absent.safetensors"
    with pytest.raises(ConfigError, match="absent"):
        build_model(ModelConfig(LABELS, encoder="xception41", encoder_weights=absent), 0)
    with pytest.raises(ConfigError, match="no timm weights"):
        build_model(ModelConfig(LABELS, encoder_weights=absent), 0)


@pytest.mark.slow
def test_timm_weights_are_read_from_a_local_file(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    source = timm.create_model("legacy_xception", in_chans=3)
    file = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), file)
    model = build_model(ModelConfig(LABELS, encoder="legacy_xception", encoder_weights=file), 0)
    loaded = dict(model.encoder.network.named_parameters())
    torch.testing.assert_close(loaded["conv2.weight"], source.conv2.weight)
    torch.testing.assert_close(loaded["conv1.weight"], source.conv1.weight.sum(1, keepdim=True))
    torch.testing.assert_close(loaded["bn4.weight"], source.bn4.weight)
