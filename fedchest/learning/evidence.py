"""Where in an image a model's decision comes from, as one map a label."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fedchest.models.chest import Decision


def evidence_maps(decision: Decision, shape: Sequence[int]) -> Tensor:
    """The evidence of all scales, added up at `shape` = (H, W) pixels by bilinear interpolation: float32[N,L,H,W].

    In logits: evidence added everywhere at one scale raises the label's logit by as much (Pinheiro and Collobert
    2015, whose pooling the logits are made by).
    """
    scales = [functional.interpolate(cells, tuple(shape), mode="bilinear") for cells in decision.cells]
    return torch.stack(scales).sum(0)
