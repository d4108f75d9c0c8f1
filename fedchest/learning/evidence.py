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
    """What each place adds to the logits, all scales together, at `shape` = (H, W) pixels: float32[N,L,H,W].

    A cell's part lies evenly on the pixels that it spans. A map's mean is its label's logit, but for what
    `heads.LocalHead.contributions` says of log-mean-exp.
    """
    spread = [functional.interpolate(cells, tuple(shape), mode="nearest") for cells in decision.cells]
    return torch.stack(spread).sum(0)
