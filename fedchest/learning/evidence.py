"""Where in an image a model's decision comes from, as one map a label."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fedchest.models.chest import Decision


def deciding_scales(decision: Decision) -> Tensor:
    """The scale that moves each label's logit most in the direction that it went: int64[N,L]."""
    by_scale = decision.by_scale
    return (by_scale * by_scale.sum(1, keepdim=True).sign()).argmax(1)


def evidence_maps(decision: Decision, shape: Sequence[int]) -> Tensor:
    """What the cells of the scale that decided say, interpolated to `shape` = (H, W) pixels: float32[N,L,H,W].

    In logits: evidence added everywhere at that scale raises the label's logit by as much (Pinheiro and Collobert
    2015, whose pooling the logits are made by).
    """
    maps = torch.stack(
        [functional.interpolate(cells, tuple(shape), mode="bilinear") for cells in decision.cells], dim=1
    )
    chosen = deciding_scales(decision)[:, None, :, None, None].expand(-1, 1, -1, *maps.shape[3:])
    return maps.gather(1, chosen).squeeze(1)
