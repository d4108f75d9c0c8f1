"""Weights from files that others made: read without running anything, fitted key by key, or refused."""

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from fedchest.errors import ConfigError

Source = Path | Literal["timm"]
"""Where an encoder's weights come from: a file, or what timm publishes for the network."""

_WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts store the weights beside their optimiser."""

_COLOURS = 3
_COUNTER = "num_batches_tracked"

_WRAPPING = re.compile(r"^(module\.)?(densenet121\.)?")
"""What data-parallel training and the public CheXNet scripts put before every key."""

_OLD_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)")
"""torchvision before 0.3 wrote `denselayer1.norm.1.weight` for today's `denselayer1.norm1.weight`."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch state dict that may lie under "state_dict" or "model".

    Keys lose the prefixes "module." and "densenet121.", and those of old dense layers get today's names.
    Nothing that the file contains is run. Raises ConfigError when it is missing, truncated, or holds anything
    but dense tensors of real numbers.
    """
    content = _content(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not all(_is_weight(entry) for entry in content.items()):
        raise ConfigError(f"{path} does not hold weights: it is not a table of named, dense, real tensors.")
    weights = {_todays_key(key): value for key, value in content.items()}
    if len(weights) < len(content):
        raise ConfigError(f"{path} does not hold weights: several of its keys mean the same tensor.")
    return weights


def load_weights(network: nn.Module, path: Path) -> None:
    """Load the file into a timm network without a classifier, whose images are grey.

    A first layer for colours is summed to one channel, and the file's classifier is left out. Raises ConfigError
    naming the first key that does not fit, with the network unchanged.
    """
    origin: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    classifiers = tuple(f"{name}." for name in _names(origin.get("classifier")))
    weights = {
        key: value
        for key, value in read_weights(path).items()
        if not key.startswith(classifiers) and not key.endswith(_COUNTER)
    }
    for key in (f"{name}.weight" for name in _names(origin.get("first_conv"))):
        if key in weights and weights[key].dim() == 4 and weights[key].shape[1] % _COLOURS == 0:
            weights[key] = adapt_input_conv(1, weights[key])
    misfit = next(_misfits(network, weights), None)
    if misfit is not None:
        raise ConfigError(f"{path} does not hold weights of timm's {origin['architecture']}: {misfit}.")
    network.load_state_dict(weights, strict=False)


def _content(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"The encoder weights {path} do not exist.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path} is refused: it is not a plain file of tensors, and nothing that it may ask to run was run."
        ) from error
    except Exception as error:  # Foreign bytes can fail anywhere in the decoders.
        raise ConfigError(
            f"{path} can't be read as weights: it is truncated or of another format."
        ) from error


def _is_weight(entry: tuple[object, object]) -> bool:
    key, value = entry
    if not isinstance(key, str) or not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not (value.is_quantized or value.is_complex())


def _todays_key(key: str) -> str:
    return _OLD_DENSE_LAYER.sub(r"\1\2", _WRAPPING.sub("", key))


def _names(setting: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """timm names one layer, several or none."""
    return (setting,) if isinstance(setting, str) else setting or ()


def _misfits(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
    own = {key: value for key, value in network.state_dict().items() if not key.endswith(_COUNTER)}
    for key, value in own.items():
        if key not in weights:
            yield f"it has no {key}"
        elif weights[key].shape != value.shape:
            yield f"its {key} has shape {tuple(weights[key].shape)}, not {tuple(value.shape)}"
    yield from (f"its {key} belongs to no layer" for key in weights if key not in own)
