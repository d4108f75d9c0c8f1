"""Low-rank adapters (Hu et al. 2022): a frozen layer beside a trained product of two thin ones."""

from typing import Any

from torch import Tensor, nn

from fedchest.errors import ConfigError

_BASE, _DOWN, _UP = "base", "adapter_down", "adapter_up"
_SIGHT = ("kernel_size", "stride", "padding", "dilation", "padding_mode")


class LowRank(nn.Module):
    """base(x) + up(down(x)): Hu et al. 2022, equation 3, with alpha = r; `up` starts at zero, so nothing changes.

    `down` sees what the base sees (a convolution's kernel, stride and padding) and answers in `rank` channels.
    """

    adapter_down: nn.Conv2d | nn.Linear
    adapter_up: nn.Conv2d | nn.Linear

    def __init__(self, base: nn.Conv2d | nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.adapter_down, self.adapter_up = _thin_pair(base, rank)
        nn.init.zeros_(self.adapter_up.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        answer: Tensor = self.base(inputs) + self.adapter_up(self.adapter_down(inputs))
        return answer


def add_adapters(network: nn.Module, rank: int) -> nn.Module:
    """Put an adapter of `rank` beside every linear layer and ungrouped convolution below `network`.

    Layers whose weight, read as a matrix, has no rank above `rank` get none. All that was there before is frozen.
    Raises ConfigError when that leaves no layer with an adapter, or `rank` is below 1.
    """
    if rank < 1:
        raise ConfigError(f"adapter_rank {rank} is not allowed: it is 0 for no adapters, or at least 1.")
    network.requires_grad_(False)
    _adapt_below(network, rank)
    if not any(is_adapter(name) for name, _ in network.named_parameters()):
        raise ConfigError(f"adapter_rank {rank} is not below the rank of any layer of the encoder.")
    return network


def is_adapter(name: str) -> bool:
    """Whether the parameter called `name` belongs to an adapter."""
    return not {_DOWN, _UP}.isdisjoint(name.split("."))


def name_without_adapter(name: str) -> str:
    """What the parameter called `name` is called in the same network without adapters."""
    return ".".join(part for part in name.split(".") if part != _BASE)


def _adapt_below(module: nn.Module, rank: int) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d | nn.Linear) and _takes_an_adapter(child, rank):
            setattr(module, name, LowRank(child, rank))
        else:
            _adapt_below(child, rank)


def _takes_an_adapter(layer: nn.Conv2d | nn.Linear, rank: int) -> bool:
    # Exactly these types: a subclass may pad or scale in a way that the adapter's layers would not follow.
    if type(layer) not in (nn.Linear, nn.Conv2d) or getattr(layer, "groups", 1) > 1:
        return False
    return rank < min(layer.weight.flatten(1).shape)


def _thin_pair(
    base: nn.Conv2d | nn.Linear, rank: int
) -> tuple[nn.Conv2d, nn.Conv2d] | tuple[nn.Linear, nn.Linear]:
    if isinstance(base, nn.Linear):
        return nn.Linear(base.in_features, rank, bias=False), nn.Linear(rank, base.out_features, bias=False)
    sight: dict[str, Any] = {setting: getattr(base, setting) for setting in _SIGHT}
    down = nn.Conv2d(base.in_channels, rank, bias=False, **sight)
    return down, nn.Conv2d(rank, base.out_channels, kernel_size=1, bias=False)
