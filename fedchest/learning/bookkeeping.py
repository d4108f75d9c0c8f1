"""Clipped per-patient gradients without ever holding a gradient for each patient (Bu et al. 2023, "book-keeping").

One forward pass remembers each layer's input. As the backward pass comes to a layer, the layer tells from its input and
its output's gradient the squared norm of every patient's gradient (`layer_rules`), and keeps no more than the sum of
the clipped gradients will take once the clipping factors are known (`shares`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fedchest.errors import UnboundedLossError
from fedchest.learning.layer_rules import BACKWARD_RULES, LAYER_RULES, Passed, refuse_without_rule
from fedchest.learning.memory import keep_freed_memory
from fedchest.learning.owners import Owners
from fedchest.learning.shares import Share
from fedchest.models.normalization import refuse_batch_coupling


class _Pass(NamedTuple):
    inputs: Tensor
    version: int
    node: Any


class BookKeeper:
    """The gradients of one model's passes; use `book_keeping`, which also takes its hooks off again."""

    def __init__(self, model: nn.Module) -> None:
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._passes: dict[nn.Module, _Pass] = {}
        self._shares: list[Share] = []
        # What every layer passes on depends on it, so that the way to its gradient leads through all of them.
        self._anchor = torch.zeros((), requires_grad=True)

    def watch(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """The forward hook of every layer that is trained."""
        if not torch.is_grad_enabled():
            return None
        if layer in self._passes:
            raise UnboundedLossError(
                f"{type(layer).__name__} is passed twice in one step: stack a patient's views as rows instead, so "
                "that they are clipped together."
            )
        self._passes[layer] = _Pass(inputs[0].detach(), inputs[0]._version, output.grad_fn)
        source = inputs[0] if type(layer) in BACKWARD_RULES else output
        tapped: Tensor = _Tap.apply(  # type: ignore[no-untyped-call]
            source, self._anchor, output.detach(), partial(self._tell, layer)
        )
        return tapped

    def clipped_sum(self, loss: Tensor, owners: Owners, bound: float) -> Tensor:
        """The sum of the patients' gradients, each clipped to the L2 norm `bound`: float32[parameters trained].

        `loss` is the sum over the rows of the forward pass just made. A patient whose gradient is not finite
        contributes nothing.
        """
        self._refuse_changes_in_place()
        self._owners = owners.to(loss.device)
        with torch.autocast(loss.device.type, enabled=False):
            torch.autograd.grad(loss, self._anchor, allow_unused=True)
            self._passes.clear()
            shares, self._shares = self._shares, []
            with torch.no_grad():
                return _clipped(shares, self._trained, bound)

    def _refuse_changes_in_place(self) -> None:
        for layer, (inputs, version, _) in self._passes.items():
            if inputs._version != version:
                raise UnboundedLossError(
                    f"The input of a {type(layer).__name__} was changed in place, so its gradient by patient can't "
                    "be told; use another encoder."
                )

    def _tell(self, layer: nn.Module, gradients: Tensor) -> Tensor:
        """Take up what the backward pass brings to a layer's output; return what it goes on with."""
        inputs, _, node = self._passes.pop(layer)
        if not len(inputs) == len(gradients) == len(self._owners.of_rows):
            raise UnboundedLossError(
                f"A {type(layer).__name__} got {len(inputs)} rows for the {len(self._owners.of_rows)} of the batch, so "
                "its gradient by patient can't be told; use another encoder."
            )
        passed = Passed(layer, _wide(inputs), _wide(gradients), node)
        if type(layer) in BACKWARD_RULES:
            shares, gradients = BACKWARD_RULES[type(layer)](passed, self._owners)
        else:
            shares = LAYER_RULES[type(layer)](passed, self._owners)
        self._shares.extend(shares)
        return gradients


@contextmanager
def book_keeping(model: nn.Module) -> Iterator[BookKeeper]:
    """Keep books on `model` while the block runs.

    Raises UnboundedLossError for a layer that couples patients, and for a trained parameter that belongs to no layer
    with a rule (`layer_rules`) or to two layers.
    """
    refuse_batch_coupling(model)
    keep_freed_memory()
    keeper = BookKeeper(model)
    handles: list[RemovableHandle] = []
    try:
        for layer in _trained_layers(model):
            handles.append(layer.register_forward_hook(keeper.watch))
        yield keeper
    finally:
        for handle in handles:
            handle.remove()


def _trained_layers(model: nn.Module) -> list[nn.Module]:
    layers: list[nn.Module] = []
    owned: set[nn.Parameter] = set()
    for name, layer in model.named_modules():
        own = [parameter for parameter in layer.parameters(recurse=False) if parameter.requires_grad]
        if not own:
            continue
        refuse_without_rule(layer, name)
        if owned.intersection(own):
            raise UnboundedLossError(
                f"Layer {name} shares a parameter with another: its norm would be counted twice."
            )
        owned.update(own)
        layers.append(layer)
    return layers


def _clipped(shares: list[Share], trained: list[nn.Parameter], bound: float) -> Tensor:
    """Empties `shares`, so that each is given up as soon as it is added up."""
    sizes = [parameter.numel() for parameter in trained]
    total = trained[0].new_empty(sum(sizes))
    pieces: dict[Tensor, Tensor] = dict(zip(trained, torch.split(total, sizes), strict=True))
    norms = torch.stack([share.squared_norms for share in shares]).sum(0).sqrt()
    finite = norms.isfinite()
    scales = (bound / norms[finite]).clamp(max=1.0)
    while shares:
        share = shares.pop() if len(scales) == len(norms) else shares.pop().only(finite)
        pieces.pop(share.parameter).copy_(share.weighted_sum(scales))
    for unused in pieces.values():
        unused.zero_()
    return total


class _Tap(torch.autograd.Function):
    """Passes on a layer's output, and shows `tell` its gradient as soon as the backward pass has it."""

    @staticmethod
    def forward(
        ctx: Any, source: Tensor, anchor: Tensor, output: Tensor, tell: Callable[[Tensor], Tensor]
    ) -> Tensor:
        ctx.tell = tell
        return output.detach()

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.tell(gradients), None, None, None


def _wide(values: Tensor) -> Tensor:
    """In float32 at least: under autocast, layers pass on less."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
