"""Clipped per-patient gradients from Opacus's per-row gradients: the reference that book-keeping is held against.

Opacus's own sampler for `Conv2d` multiplies every channel with every other and keeps the diagonal, which for
a depthwise convolution of C channels is C times too much work. The one here is registered in its place.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from opacus.grad_sample import GradSampleHooks, compute_group_norm_grad_sample, register_grad_sampler
from opacus.grad_sample.conv import compute_conv_grad_sample
from torch import Tensor, nn

from fedchest.learning.convolutions import Convolution
from fedchest.learning.owners import Owners
from fedchest.learning.shares import squared_norms
from fedchest.models.normalization import ChannelAffine, GroupNorm, refuse_batch_coupling

# The first layer's input is the image, which needs no gradient; the hook gets the layer's output gradient all the same.
warnings.filterwarnings("ignore", message="Full backward hook is firing when gradients are computed")


class OpacusGradients:
    """The gradients of one model's passes; use `opacus_hooks`, which also takes its hooks off again."""

    def __init__(self, model: nn.Module, hooks: GradSampleHooks) -> None:
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._hooks = hooks

    def clipped_sum(self, loss: Tensor, owners: Owners, bound: float) -> Tensor:
        """As `BookKeeper.clipped_sum`, from one gradient a row held in memory."""
        owners = owners.to(loss.device)
        loss.backward()  # type: ignore[no-untyped-call]
        by_patient = [_by_patient(parameter, owners) for parameter in self._trained]
        self._hooks.set_grad_sample_to_none()
        norms = torch.stack([squared_norms(gradient) for gradient in by_patient]).sum(0).sqrt()
        scales = (bound / norms).clamp(max=1.0)
        finite = norms.isfinite()
        if not finite.all():
            by_patient = [gradient[finite] for gradient in by_patient]
            scales = scales[finite]
        return torch.cat([scales @ gradient.flatten(1) for gradient in by_patient])


@contextmanager
def opacus_hooks(model: nn.Module) -> Iterator[OpacusGradients]:
    """Let Opacus's hooks watch `model` while the block runs. Opacus refuses less than book-keeping does."""
    refuse_batch_coupling(model)
    hooks = GradSampleHooks(model, loss_reduction="sum")
    try:
        yield OpacusGradients(model, hooks)
    finally:
        hooks.cleanup()
        model.zero_grad(set_to_none=True)


def _by_patient(parameter: nn.Parameter, owners: Owners) -> Tensor:
    by_row: Tensor | None = parameter.grad_sample  # type: ignore[attr-defined]
    if by_row is None:  # no path leads from the objective to this parameter
        return parameter.new_zeros(owners.patients, *parameter.shape)
    return owners.sum(by_row)


def _convolution_gradients(
    layer: nn.Conv2d, activations: list[Tensor], backprops: Tensor
) -> dict[Tensor, Tensor]:
    """Gradients of one convolution, row by row: `weight` gets float32[N,*weight.shape].

    Equality with `torch.func` is tested by `tests/learning/test_opacus_hooks.py`.
    """
    inputs = activations[0].to(backprops.dtype)
    gradients: dict[Tensor, Tensor] = {}
    if layer.bias is not None and layer.bias.requires_grad:
        gradients[layer.bias] = backprops.sum((2, 3))
    if not layer.weight.requires_grad:
        return gradients
    if _is_pointwise(layer):
        gradients[layer.weight] = _pointwise(layer, inputs, backprops)
    elif _is_depthwise(layer):
        gradients[layer.weight] = Convolution.of(layer).weight_gradients_by_row(inputs, backprops)
    else:
        # Opacus unfolds by the strides of a contiguous tensor, whatever the strides are.
        sampled: dict[Tensor, Tensor] = compute_conv_grad_sample(
            layer, [inputs.contiguous()], backprops.contiguous()
        )
        gradients[layer.weight] = sampled[layer.weight]
    return gradients


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return layer.kernel_size == (1, 1) and layer.groups == 1 and layer.padding == (0, 0)


def _is_depthwise(layer: nn.Conv2d) -> bool:
    return layer.groups == layer.in_channels == layer.out_channels and not isinstance(layer.padding, str)


def _pointwise(layer: nn.Conv2d, inputs: Tensor, backprops: Tensor) -> Tensor:
    rows, columns = layer.stride
    seen = inputs[:, :, ::rows, ::columns].flatten(2)
    return torch.bmm(backprops.flatten(2), seen.transpose(1, 2)).view(-1, *layer.weight.shape)


def _channel_affine(
    layer: ChannelAffine, activations: list[Tensor], backprops: Tensor
) -> dict[nn.Parameter, Tensor]:
    by_row = {layer.weight: activations[0] * backprops, layer.bias: backprops}
    return {parameter: values.sum((2, 3)) for parameter, values in by_row.items() if parameter.requires_grad}


register_grad_sampler(ChannelAffine)(_channel_affine)
register_grad_sampler(nn.Conv2d)(_convolution_gradients)
register_grad_sampler(GroupNorm)(compute_group_norm_grad_sample)
