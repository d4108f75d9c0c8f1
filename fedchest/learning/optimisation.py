"""The optimiser of one round of local training; its state starts anew each round and never travels."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils import get_total_norm

from fedchest.errors import ConfigError

Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]


@dataclass(frozen=True)
class Optimisation:
    """How gradients become steps. `momentum` is SGD's, or Adam's first moment; decay is decoupled from it.

    With `relative_gradients` each tensor has a learning rate of its own in each step: the full one times its
    gradient's norm over its own norm, divided by the largest such quotient (Auto-RGN, Lee et al. 2023, section 4.2).
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    relative_gradients: bool = False


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained, in module order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def are_finite(model: nn.Module) -> bool:
    """Whether every parameter is a finite number."""
    parameters = [parameter.detach() for parameter in model.parameters()]
    # The norm, which is many times as fast, is finite only where all parameters are.
    if bool(get_total_norm(parameters).isfinite()):
        return True
    return all(bool(parameter.isfinite().all()) for parameter in parameters)


def build_optimizer(optimisation: Optimisation, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """A fresh optimiser. Raises ConfigError when the name is unknown or the learning rate is not positive."""
    if optimisation.learning_rate <= 0:
        raise ConfigError(f"learning_rate {optimisation.learning_rate} is not above 0.")
    try:
        build = _OPTIMIZERS[optimisation.optimizer]
    except KeyError:
        names = ", ".join(_OPTIMIZERS)
        raise ConfigError(f"optimizer {optimisation.optimizer!r} is not one of {names}.") from None
    if not optimisation.relative_gradients:
        return build(optimisation, parameters)
    optimizer = build(optimisation, [{"params": [parameter]} for parameter in parameters])
    optimizer.register_step_pre_hook(partial(_set_rates, optimisation.learning_rate))
    return optimizer


def _set_rates(rate: float, optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Give each group, of one tensor, its part of `rate`."""
    tensors = [group["params"][0] for group in optimizer.param_groups]
    quotients = [_relative_gradient(tensor) for tensor in tensors]
    largest = max(quotients) or 1.0
    for group, quotient in zip(optimizer.param_groups, quotients, strict=True):
        group["lr"] = rate * quotient / largest


def _relative_gradient(tensor: nn.Parameter) -> float:
    if tensor.grad is None:
        return 0.0
    return float(tensor.grad.norm() / tensor.detach().norm().clamp(min=1e-12))


def _sgd(chosen: Optimisation, parameters: Parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters, lr=chosen.learning_rate, momentum=chosen.momentum, weight_decay=chosen.weight_decay
    )


def _adam(chosen: Optimisation, parameters: Parameters) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        lr=chosen.learning_rate,
        betas=(chosen.momentum, 0.999),
        weight_decay=chosen.weight_decay,
    )


_OPTIMIZERS: Mapping[str, Callable[[Optimisation, Parameters], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
}
