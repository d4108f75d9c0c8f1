"""The optimiser of one round of local training; its state starts anew each round and never travels."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from fedchest.errors import ConfigError


@dataclass(frozen=True)
class Optimisation:
    """How gradients become steps. `momentum` is SGD's, or Adam's first moment; decay is decoupled from it."""

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained, in module order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def are_finite(model: nn.Module) -> bool:
    """Whether every parameter is a finite number."""
    return all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def build_optimizer(optimisation: Optimisation, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """A fresh optimiser. Raises ConfigError when the name is unknown or the learning rate is not positive."""
    if optimisation.learning_rate <= 0:
        raise ConfigError(f"learning_rate {optimisation.learning_rate} is not above 0.")
    try:
        build = _OPTIMIZERS[optimisation.optimizer]
    except KeyError:
        names = ", ".join(_OPTIMIZERS)
        raise ConfigError(f"optimizer {optimisation.optimizer!r} is not one of {names}.") from None
    return build(optimisation, parameters)


def _sgd(chosen: Optimisation, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters, lr=chosen.learning_rate, momentum=chosen.momentum, weight_decay=chosen.weight_decay
    )


def _adam(chosen: Optimisation, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        lr=chosen.learning_rate,
        betas=(chosen.momentum, 0.999),
        weight_decay=chosen.weight_decay,
    )


_OPTIMIZERS: Mapping[str, Callable[[Optimisation, Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
}
