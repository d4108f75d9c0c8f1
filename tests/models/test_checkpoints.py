"""Weights of others: old names, wrappers and colours fit; what is hostile, broken or of another network is refused."""

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from fedchest.errors import ConfigError
from fedchest.models.checkpoints import load_weights, read_weights
from fedchest.models.encoders import build_encoder
from fedchest.models.normalization import Normalization

SMALL = "test_resnet"
Weights = dict[str, Tensor]


def small_weights(name: str = SMALL) -> Weights:
    return dict(timm.create_model(name).state_dict())


def in_torch(content: object, folder: Path) -> Path:
    file = folder / "weights.pth"
    torch.save(content, file)
    return file


def in_safetensors(content: Weights, folder: Path) -> Path:
    file = folder / "weights.safetensors"
    save_file(content, file)
    return file


def in_the_oldest_torch_format(content: object, folder: Path) -> Path:
    file = folder / "weights.pth.tar"
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file


@pytest.mark.parametrize("write", [in_torch, in_safetensors, in_the_oldest_torch_format])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_tensors_come_back_under_their_own_names(
    write: Callable[[Any, Path], Path], prefix: str, tmp_path: Path
) -> None:
    weights = small_weights()
    found = read_weights(write({prefix + key: value for key, value in weights.items()}, tmp_path))
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[key], value) for key, value in weights.items())


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_weights_are_found_beside_a_training_scripts_other_state(wrapper: str, tmp_path: Path) -> None:
    weights = small_weights()
    file = in_torch({"epoch": 3, wrapper: weights, "optimizer": {"state": {}}}, tmp_path)
    assert read_weights(file).keys() == weights.keys()


def as_chexnet_was_published(weights: Weights) -> dict[str, Any]:
    """The public CheXNet DenseNet-121 files: data parallel, inside a module, with torchvision's old layer names."""
    published = {}
    for key, value in weights.items():
        if not key.startswith("classifier") and not key.endswith("num_batches_tracked"):
            old = re.sub(r"(denselayer\d+\.)(norm|conv)(\d)\.", r"\1\2.\3.", key)
            published[f"module.densenet121.{old}"] = value
    published["module.densenet121.classifier.0.weight"] = torch.zeros(14, 1024)
    published["module.densenet121.classifier.0.bias"] = torch.zeros(14)
    return {"epoch": 1, "state_dict": published, "best_loss": 0.1, "optimizer": {"state": {}}}


def test_a_published_chexnet_becomes_a_grey_encoder_with_its_statistics(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = timm.create_model("densenet121").eval()
    for name, value in source.named_buffers():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) / 2 + (0.5 if name.endswith("var") else 0.0))
    published = as_chexnet_was_published(dict(source.state_dict()))
    assert "module.densenet121.features.denseblock1.denselayer1.norm.1.weight" in published["state_dict"]
    file = in_the_oldest_torch_format(published, tmp_path)
    encoder = build_encoder("densenet121", file, normalization=Normalization.FROZEN)
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = source.forward_intermediates(grey.repeat(1, 3, 1, 1), indices=3, intermediates_only=True)
        for one, other in zip(encoder(grey), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_scale_and_shift_are_kept_where_statistics_are_not(tmp_path: Path) -> None:
    weights = small_weights()
    weights["bn1.weight"] = torch.rand_like(weights["bn1.weight"])
    grouped = build_encoder(SMALL, in_safetensors(weights, tmp_path)).state_dict()
    torch.testing.assert_close(grouped["network.bn1.weight"], weights["bn1.weight"])


def test_grey_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    source = timm.create_model(SMALL, in_chans=1)
    loaded = timm.create_model(SMALL, in_chans=1, num_classes=0)
    load_weights(loaded, in_safetensors(source.state_dict(), tmp_path))
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in loaded.state_dict().items())


def without(key: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: value for name, value in weights.items() if name != key}


def misshapen(key: str) -> Callable[[Weights], Weights]:
    return lambda weights: {**weights, key: torch.zeros(2, 5)}


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (without("layer2.0.conv1.weight"), r"has no layer2\.0\.conv1\.weight"),
        (without("layer1.0.bn1.running_var"), r"has no layer1\.0\.bn1\.running_var"),
        (misshapen("layer3.0.conv2.weight"), r"layer3\.0\.conv2\.weight has shape \(2, 5\), not \(\d+, \d+"),
        (misshapen("conv1.0.weight"), r"conv1\.0\.weight has shape \(2, 5\)"),
        (lambda weights: {**weights, "layer9.weight": torch.zeros(1)}, r"layer9\.weight belongs to no layer"),
        (lambda _: small_weights("test_convnext"), "it has no conv1"),
        (lambda _: {}, "it has no conv1"),
    ],
)
def test_what_does_not_fit_is_refused_by_file_and_first_key(
    spoil: Callable[[Weights], Weights], complaint: str, tmp_path: Path
) -> None:
    file = in_torch(spoil(small_weights()), tmp_path)
    with pytest.raises(
        ConfigError, match=rf"weights\.pth does not hold weights of timm's {SMALL}: .*{complaint}"
    ):
        build_encoder(SMALL, file)


class Hostile:
    """What a pickle may ask for: a call of anything, here one that leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("write", [in_torch, in_the_oldest_torch_format])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_hostile_pickle_is_refused_and_runs_nothing(
    write: Callable[[Any, Path], Path], wrapped: bool, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    content = {"state_dict": {"conv1.weight": Hostile(trace)}} if wrapped else Hostile(trace)
    file = write(content, tmp_path)
    with pytest.raises(ConfigError, match="not a plain file of tensors"):
        build_encoder(SMALL, file)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists(), "the file was not hostile, so nothing was tested"


def test_a_bare_hostile_pickle_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    trace, file = tmp_path / "trace", tmp_path / "weights.pth"
    file.write_bytes(pickle.dumps(Hostile(trace)))
    with pytest.raises(ConfigError, match=r"weights\.pth"):
        read_weights(file)
    assert not trace.exists()


@pytest.mark.parametrize("write", [in_torch, in_safetensors, in_the_oldest_torch_format])
@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.99])
def test_a_truncated_file_is_refused(write: Callable[[Any, Path], Path], kept: float, tmp_path: Path) -> None:
    file = write(small_weights(), tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    with pytest.raises(ConfigError, match=r"weights\..* can't be read as weights"):
        build_encoder(SMALL, file)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"epoch": 3},
        {"state_dict": {"conv1.weight": 3}},
        torch.zeros(3),
        {"conv1.weight": torch.eye(3).to_sparse()},
        {"conv1.weight": torch.eye(3).to(torch.complex64)},
        {"conv1.weight": torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8)},
    ],
)
def test_a_file_of_something_else_is_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a table of named, dense, real tensors"):
        read_weights(in_torch(content, tmp_path))


HUB_SCRIPT = """
import sys
from fedchest.errors import ConfigError
from fedchest.models.encoders import build_encoder
try:
    print(float(build_encoder(sys.argv[1], "timm").network.conv1[0].weight.detach().sum()))
except ConfigError as error:
    print(error)
"""


def timm_weights_in_a_cache(folder: Path, name: str) -> str:
    """What a process without a network makes of timm's weights, which lie in its cache of the hub for one model."""
    done = subprocess.run(
        [sys.executable, "-c", HUB_SCRIPT, name],
        env={**os.environ, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
def test_weights_that_timm_publishes_are_taken_from_its_hub(tmp_path: Path) -> None:
    source = timm.create_model(SMALL)
    commit = "0" * 40
    repository = tmp_path / "hub" / f"models--{source.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    save_file(source.state_dict(), repository / "snapshots" / commit / "model.safetensors")
    grey = float(source.conv1[0].weight.detach().sum())
    assert float(timm_weights_in_a_cache(tmp_path, SMALL)) == pytest.approx(grey, rel=1e-4)
    refused = timm_weights_in_a_cache(tmp_path, "resnet18")
    assert "timm publishes for resnet18 can't be had" in refused


def test_two_keys_for_one_tensor_are_refused(tmp_path: Path) -> None:
    twice = {"conv1.weight": torch.zeros(3), "module.conv1.weight": torch.ones(3)}
    with pytest.raises(ConfigError, match="keys mean the same tensor"):
        read_weights(in_torch(twice, tmp_path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for absent in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(ConfigError, match="do not exist"):
            read_weights(absent)
