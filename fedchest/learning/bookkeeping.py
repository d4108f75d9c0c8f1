"""Clipped per-patient gradients without ever holding a gradient for each patient (Bu et al. 2023, "book-keeping").

One forward pass remembers each layer's input, one backward pass finds the gradient of each layer's output. From these
two a layer gives the squared norm of every patient's gradient, and, once the clipping factors are known, the sum of the
clipped gradients: both without the per-patient gradients themselves wherever that is cheaper (`LAYER_RULES`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from timm.layers import LayerNorm, LayerNorm2d
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fedchest.errors import UnboundedLossError
from fedchest.learning.convolutions import weight_gradient, weight_gradients_by_row
from fedchest.learning.owners import Owners
from fedchest.models.normalization import GroupNorm

_LARGEST_KEPT = 1 << 26
"""Values of per-patient gradients that are kept for the second use rather than computed again."""

_RECOMPUTED_ROUNDING = 2.0**-21
"""Eight units in the last place of float32."""

_FLOAT64_COST = 2
"""What an operation on float64 costs in operations on float32."""


@dataclass(frozen=True)
class Passed:
    """What went through a layer: its input and the loss's gradient at its output, row by row."""

    layer: nn.Module
    inputs: Tensor
    gradients: Tensor

    def only(self, rows: Tensor) -> "Passed":
        """The rows that the mask bool[N] keeps."""
        return replace(self, inputs=self.inputs[rows], gradients=self.gradients[rows])


@dataclass(frozen=True)
class Share:
    """One parameter's part: squared norms float32[P] of its gradient by patient, and their sum weighted by such."""

    parameter: Tensor
    squared_norms: Tensor
    weighted_sum: Callable[[Tensor], Tensor]


LayerRule = Callable[[Passed, Owners], list[Share]]


class BookKeeper:
    """The gradients of one model's passes; use `book_keeping`, which also takes its hooks off again."""

    def __init__(self, model: nn.Module) -> None:
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._passes: list[tuple[nn.Module, Tensor, Tensor, tuple[int, int]]] = []

    def remember(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """The forward hook of every layer that is trained."""
        if not torch.is_grad_enabled():
            return
        if any(passed is layer for passed, *_ in self._passes):
            raise UnboundedLossError(
                f"{type(layer).__name__} is passed twice in one step: stack a patient's views as rows instead, so "
                "that they are clipped together."
            )
        versions = (inputs[0]._version, output._version)
        self._passes.append((layer, inputs[0].detach(), output, versions))

    def clipped_sum(self, loss: Tensor, owners: Owners, bound: float) -> Tensor:
        """The sum of the patients' gradients, each clipped to the L2 norm `bound`: float32[parameters trained].

        `loss` is the sum over the rows of the forward pass just made. A patient whose gradient is not finite
        contributes nothing.
        """
        passes, self._passes = self._passes, []
        for layer, inputs, output, versions in passes:
            if (inputs._version, output._version) != versions:
                raise UnboundedLossError(
                    f"The input or output of a {type(layer).__name__} was changed in place, so its gradient by "
                    "patient can't be told; use another encoder."
                )
        outputs = [output for _, _, output, _ in passes]
        gradients = torch.autograd.grad(loss, outputs, allow_unused=True)
        with torch.no_grad():
            found = [
                Passed(layer, inputs, gradient)
                for (layer, inputs, _, _), gradient in zip(passes, gradients, strict=True)
                if gradient is not None
            ]
            return self._clipped(found, owners, bound)

    def _clipped(self, found: Sequence[Passed], owners: Owners, bound: float) -> Tensor:
        shares = [share for passed in found for share in _rule_of(passed.layer)(passed, owners)]
        norms = torch.stack([share.squared_norms for share in shares]).sum(0).sqrt()
        finite = norms.isfinite()
        if not finite.any():
            return torch.cat([parameter.new_zeros(parameter.numel()) for parameter in self._trained])
        if not finite.all():
            rows = finite[owners.of_rows]
            return self._clipped([passed.only(rows) for passed in found], owners.only(finite), bound)
        scales = (bound / norms).clamp(max=1.0)
        sums = {share.parameter: share.weighted_sum(scales) for share in shares}
        return torch.cat([sums[p].flatten() if p in sums else p.new_zeros(p.numel()) for p in self._trained])


@contextmanager
def book_keeping(model: nn.Module) -> Iterator[BookKeeper]:
    """Keep books on `model` while the block runs.

    Raises UnboundedLossError for a trained parameter that belongs to no layer of `LAYER_RULES` or to two layers.
    """
    keeper = BookKeeper(model)
    handles: list[RemovableHandle] = []
    try:
        for layer in _trained_layers(model):
            handles.append(layer.register_forward_hook(keeper.remember))
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
        _rule_of(layer, name)
        if owned.intersection(own):
            raise UnboundedLossError(
                f"Layer {name} shares a parameter with another: its norm would be counted twice."
            )
        owned.update(own)
        layers.append(layer)
    return layers


def _rule_of(layer: nn.Module, name: str = "") -> LayerRule:
    """The rule of exactly this type: a subclass may compute something else with the same weight."""
    rule = LAYER_RULES.get(type(layer))
    has_other_padding = isinstance(layer, nn.Conv2d) and (
        isinstance(layer.padding, str) or layer.padding_mode != "zeros"
    )
    if rule is None or has_other_padding:
        raise UnboundedLossError(
            f"Layer {name} is {layer}, whose gradient by patient book-keeping can't tell; freeze it, or use the "
            "Opacus engine."
        )
    return rule


def _convolution(passed: Passed, owners: Owners) -> list[Share]:
    layer, inputs, gradients = passed.layer, passed.inputs, passed.gradients
    assert isinstance(layer, nn.Conv2d)
    shares = []
    if layer.bias is not None and layer.bias.requires_grad:
        shares.append(_kept(layer.bias, owners.sum(gradients.sum((2, 3)))))
    if not layer.weight.requires_grad:
        return shares
    if layer.groups > 1:
        return [*shares, _kept(layer.weight, owners.sum(weight_gradients_by_row(layer, inputs, gradients)))]

    def recomputed(scales: Tensor) -> Tensor:
        return weight_gradient(
            layer, inputs, gradients * owners.spread(scales)[:, None, None, None], layer.groups
        )

    share = _matrix(layer.weight, _columns(layer, inputs), gradients.flatten(2), owners, recomputed)
    return [*shares, share]


def _linear(passed: Passed, owners: Owners) -> list[Share]:
    layer = passed.layer
    assert isinstance(layer, nn.Linear)
    inputs, gradients = (
        values.reshape(len(values), -1, values.shape[-1]).transpose(1, 2)
        for values in (passed.inputs, passed.gradients)
    )
    shares = []
    if layer.bias is not None and layer.bias.requires_grad:
        shares.append(_kept(layer.bias, owners.sum(gradients.sum(2))))
    if layer.weight.requires_grad:

        def recomputed(scales: Tensor) -> Tensor:
            return torch.einsum("bot,bit->oi", gradients * owners.spread(scales)[:, None, None], inputs)

        shares.append(_matrix(layer.weight, inputs, gradients, owners, recomputed))
    return shares


def _group_norm(passed: Passed, owners: Owners) -> list[Share]:
    layer, inputs, gradients = passed.layer, passed.inputs, passed.gradients
    assert isinstance(layer, nn.GroupNorm)
    rows, channels = inputs.shape[:2]
    cells = inputs[0, 0].numel()
    flat = inputs.reshape(1, rows * channels, cells)
    _, mean, deviation = torch.native_group_norm(
        inputs, None, None, rows, channels, cells, layer.num_groups, layer.eps
    )
    # Folding the rows into the channels makes torch's own kernel give one gradient a row.
    _, scale, shift = torch.ops.aten.native_group_norm_backward(
        gradients.reshape(1, rows * channels, cells),
        flat,
        mean.view(1, -1),
        deviation.view(1, -1),
        inputs.new_ones(rows * channels),
        1,
        rows * channels,
        cells,
        rows * layer.num_groups,
        [False, True, True],
    )
    by_row = {layer.weight: scale.view(rows, channels), layer.bias: shift.view(rows, channels)}
    return [_kept(p, owners.sum(values)) for p, values in by_row.items() if p.requires_grad]


def _layer_norm(passed: Passed, owners: Owners) -> list[Share]:
    layer, inputs, gradients = passed.layer, passed.inputs, passed.gradients
    assert isinstance(layer, nn.LayerNorm)
    normalised = nn.functional.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    positions = tuple(range(1, inputs.dim() - len(layer.normalized_shape)))
    by_row = {layer.weight: gradients * normalised, layer.bias: gradients}
    return [
        _kept(parameter, owners.sum(values.sum(positions) if positions else values))
        for parameter, values in by_row.items()
        if parameter is not None and parameter.requires_grad
    ]


def _layer_norm_2d(passed: Passed, owners: Owners) -> list[Share]:
    """timm's normalises the channels of maps float32[N,C,h,w]."""
    inputs, gradients = (values.permute(0, 2, 3, 1) for values in (passed.inputs, passed.gradients))
    return _layer_norm(replace(passed, inputs=inputs, gradients=gradients), owners)


LAYER_RULES: Mapping[type[nn.Module], LayerRule] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.GroupNorm: _group_norm,
    GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    LayerNorm: _layer_norm,
    LayerNorm2d: _layer_norm_2d,
}


def _kept(parameter: Tensor, by_patient: Tensor) -> Share:
    """The share of a parameter so small that its per-patient gradients float32[P,...] are made and kept."""
    return Share(
        parameter,
        by_patient.flatten(1).square().sum(1),
        lambda scales: torch.tensordot(scales, by_patient, 1),
    )


def _matrix(
    parameter: Tensor,
    inputs: Tensor,
    gradients: Tensor,
    owners: Owners,
    recomputed: Callable[[Tensor], Tensor],
) -> Share:
    """The share of a weight whose gradient is `sum_t gradients[:,t] inputs[:,t]^T`, over T positions of a row.

    `inputs` is float32[N,I,T], `gradients` float32[N,O,T]. The squared norm is `sum (A^T A) * (G^T G)` over pairs
    of positions (Goodfellow 2015), cheaper than the gradient itself where positions are few.
    """
    width, positions = inputs.shape[1:]
    height = gradients.shape[1]
    if _FLOAT64_COST * positions * owners.most * (width + height) < width * height:
        norms = _norms_from_pairs(owners.stack(inputs), owners.stack(gradients))
        return Share(parameter, (norms + _rounding(inputs, gradients, owners)).square(), recomputed)
    by_patient = owners.sum(torch.bmm(gradients, inputs.transpose(1, 2)))
    if by_patient.numel() <= _LARGEST_KEPT:
        return _kept(parameter, by_patient)
    norms = by_patient.flatten(1).norm(dim=1)
    return Share(parameter, (norms + _rounding(inputs, gradients, owners)).square(), recomputed)


def _norms_from_pairs(inputs: Tensor, gradients: Tensor) -> Tensor:
    """Norms, float32[P], computed in float64: where positions cancel, float32 could make a large norm small."""
    wide_inputs, wide_gradients = inputs.double(), gradients.double()
    pairs = torch.bmm(wide_inputs.transpose(1, 2), wide_inputs)
    pairs *= torch.bmm(wide_gradients.transpose(1, 2), wide_gradients)
    return pairs.sum((1, 2)).clamp(min=0).sqrt().to(inputs.dtype)


def _rounding(inputs: Tensor, gradients: Tensor, owners: Owners) -> Tensor:
    """What the rounding of a sum that is computed once more can add to a patient's norm, float32[P].

    Scaling rounds each position by itself, so where positions cancel the error is as large as they are.
    """
    return owners.sum((inputs.norm(dim=1) * gradients.norm(dim=1)).sum(1)) * _RECOMPUTED_ROUNDING


def _columns(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """What each output cell of an ungrouped convolution sees: float32[N, I k k, T]."""
    if layer.kernel_size == (1, 1) and layer.padding == (0, 0):
        rows, columns = layer.stride
        return inputs[:, :, ::rows, ::columns].flatten(2)
    assert not isinstance(layer.padding, str)
    return nn.functional.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
