"""A model's weights as named arrays, and which of them a study trains."""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fedchest.errors import ConfigError, StoreError
from fedchest.models.adapters import is_adapter
from fedchest.models.chest import ChestModel

Arrays = dict[str, npt.NDArray[np.float32]]


class Trainable(StrEnum):
    """Which parameters a study trains: fewer means less noise in each private step, and a smaller update."""

    ALL = "all"
    LAST_TWO_SCALES = "last-two-scales"
    LAST_SCALE = "last-scale"
    NORMS_AND_HEAD = "norms-and-head"
    HEAD = "head"
    ADAPTERS = "adapters"


_FIRST_TRAINED = {Trainable.ALL: 0, Trainable.LAST_TWO_SCALES: 1, Trainable.LAST_SCALE: 2}


def restrict(model: ChestModel, trainable: Trainable) -> None:
    """Let `model` learn its head and those of the encoder's parameters that `trainable` names and that matter.

    The others keep the released values.
    """
    model.requires_grad_(True)
    for stream in model.streams:
        scales = stream.first_scales()
        for name, parameter in stream.named_parameters():
            matters = parameter in scales and _names(trainable, name, parameter, scales[parameter])
            parameter.requires_grad_(matters)


def _names(trainable: Trainable, name: str, parameter: nn.Parameter, scale: int) -> bool:
    """Whether `trainable` names a parameter of an encoder, whose first map to depend on it is that of `scale`."""
    match trainable:
        case Trainable.HEAD:
            return False
        case Trainable.NORMS_AND_HEAD:
            return parameter.dim() == 1
        case Trainable.ADAPTERS:
            return is_adapter(name)
        case _:
            return scale >= _FIRST_TRAINED[trainable]


def parameters(model: nn.Module) -> Arrays:
    """All parameters, trained or not, as float32 copies in module order: the global model."""
    return _arrays(dict(model.named_parameters()))


def trained_parameters(model: nn.Module) -> Arrays:
    """The parameters that the study trains, in module order: what an update is the difference of."""
    return _arrays({name: value for name, value in model.named_parameters() if value.requires_grad})


def load_parameters(model: nn.Module, arrays: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Copy `arrays` into the parameters of the same names; parameters that are not named keep their values.

    Raises StoreError when a name is unknown or a shape differs.
    """
    own = dict(model.named_parameters())
    for name, values in arrays.items():
        if name not in own or own[name].shape != values.shape:
            raise StoreError(f"Parameter {name} with shape {values.shape} does not belong to this model.")
    with torch.no_grad():
        for name, values in arrays.items():
            own[name].copy_(torch.from_numpy(np.array(values, dtype=np.float32)))


def _arrays(named: Mapping[str, nn.Parameter]) -> Arrays:
    if not named:
        raise ConfigError("The model trains no parameter.")
    return {
        name: np.ascontiguousarray(value.detach().cpu().numpy(), dtype=np.float32).copy()
        for name, value in named.items()
    }
