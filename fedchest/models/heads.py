"""Heads: how an encoder's maps become logits, and which cells of the maps they become so by."""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fedchest.models.normalization import group_norm

POOLING_SHARPNESS = 4.0
ATTENTION_WIDTH = 64


class Head(StrEnum):
    """How the evidence of a map's cells is put together."""

    EVIDENCE = "evidence"
    EVIDENCE_JOINT = "evidence-joint"
    EVIDENCE_LAST = "evidence-last"
    AVERAGE = "average"
    ATTENTION = "attention"


class Evidence(NamedTuple):
    """What a head makes of maps at S scales: its O outputs are the sum of `by_scale` over the scales.

    `by_scale` is float32[N,S,O], what a scale adds to the output; `cells[s]` is float32[N,O,h,w], what each of its
    cells says.
    """

    cells: list[Tensor]
    by_scale: Tensor


class Pooling(NamedTuple):
    """How what the cells say, S times float32[N,O,h,w], becomes what the scales add.

    `by_scale` gives the latter, float32[N,S,O]; `attention` how much of each cell's evidence gets into the output: the
    output's derivative by the cell, S times float32[N,O,h,w].
    """

    by_scale: Callable[[list[Tensor]], Tensor]
    attention: Callable[[list[Tensor]], list[Tensor]]


class LocalHead(nn.Module):
    """Each cell of a map gives its own logit; `pooling` does the rest without a weight of its own.

    `cells` are these logits: where they are high for a label, and only there, the label's logit comes from.
    """

    def __init__(self, channels: Sequence[int], outputs: int, pooling: Pooling) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_pointwise(width, outputs) for width in channels)
        self.pooling = pooling

    def forward(self, maps: list[Tensor]) -> Evidence:
        """Maps float32[N,channels,h,w] of as many scales as there are channels, finest first."""
        cells = [scale(features) for scale, features in zip(self.scales, maps, strict=True)]
        return Evidence(cells, self.pooling.by_scale(cells))

    def contributions(self, cells: list[Tensor]) -> list[Tensor]:
        """What each cell adds to the output, times the number of its scale's cells: evidence times attention.

        Their means over the cells add up to the output, and with log-mean-exp to as much more as the attention's
        divergence from an even one comes to (`jointly`).
        """
        attention = self.pooling.attention(cells)
        return [says * paid * says[0, 0].numel() for says, paid in zip(cells, attention, strict=True)]


class AttentionHead(nn.Module):
    """Each label asks the cells of all scales with a query of its own, and averages what they say by its attention.

    `cells[s]` is attention times evidence, times the number of the scale's cells: its mean is what the scale adds.
    """

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_pointwise(width, ATTENTION_WIDTH) for width in channels)
        self.queries = nn.Linear(ATTENTION_WIDTH, outputs, bias=False)
        self.evidence = nn.Linear(ATTENTION_WIDTH, outputs)

    def forward(self, maps: list[Tensor]) -> Evidence:
        """Maps float32[N,channels,h,w] of as many scales as there are channels, finest first."""
        keys = [scale(features).relu() for scale, features in zip(self.scales, maps, strict=True)]
        counts = [key[0, 0].numel() for key in keys]
        tokens = torch.cat([key.flatten(2) for key in keys], dim=2).transpose(1, 2)
        scores = self.queries(tokens).split(counts, 1)
        # Without this a scale would have the more say the more cells it has.
        even = [score / math.sqrt(ATTENTION_WIDTH) - math.log(score.shape[1]) for score in scores]
        added = torch.cat(even, dim=1).softmax(1) * self.evidence(tokens)
        by_scale = added.split(counts, 1)
        cells = [
            (values * values.shape[1]).transpose(1, 2).unflatten(2, key.shape[-2:])
            for values, key in zip(by_scale, keys, strict=True)
        ]
        return Evidence(cells, torch.stack([values.sum(1) for values in by_scale], dim=1))

    def contributions(self, cells: list[Tensor]) -> list[Tensor]:
        """As `LocalHead.contributions`: these cells are so already."""
        return cells


def scale_by_scale(cells: list[Tensor]) -> Tensor:
    """Each scale adds the log-mean-exp of its cells (Pinheiro and Collobert 2015, section 3.2)."""
    return torch.stack([_log_mean_exp(scale.flatten(2)) for scale in cells], dim=1)


def jointly(cells: list[Tensor]) -> Tensor:
    """One log-mean-exp over the cells of all scales, each scale weighing the same; a scale adds its share of it.

    The shares are the attention that each label pays to the scales: the softmax over place and scale of the
    sharpened evidence, summed over places. With that attention w, and u where every scale and cell weighs the same,
    the logit is the attended evidence less `KL(w || u) / sharpness`.
    """
    by_scale = scale_by_scale(cells)
    logit = _log_mean_exp(by_scale.transpose(1, 2))
    # The shares add up to one, so the logit's gradient does not pass through them.
    return _shares(by_scale).detach() * logit.unsqueeze(1)


def mean(cells: list[Tensor]) -> Tensor:
    """Each scale adds the mean of its cells: they are the class activation map (Zhou et al. 2016, section 2)."""
    return torch.stack([scale.mean((2, 3)) for scale in cells], dim=1)


def _attention_by_scale(cells: list[Tensor]) -> list[Tensor]:
    return [(scale * POOLING_SHARPNESS).flatten(2).softmax(-1).view_as(scale) for scale in cells]


def _joint_attention(cells: list[Tensor]) -> list[Tensor]:
    shares = _shares(scale_by_scale(cells)).unbind(1)
    within = _attention_by_scale(cells)
    return [paid * share[:, :, None, None] for paid, share in zip(within, shares, strict=True)]


def _even_attention(cells: list[Tensor]) -> list[Tensor]:
    return [torch.full_like(scale, 1 / scale[0, 0].numel()) for scale in cells]


SCALE_BY_SCALE = Pooling(scale_by_scale, _attention_by_scale)
JOINTLY = Pooling(jointly, _joint_attention)
MEAN = Pooling(mean, _even_attention)

HEADS: Mapping[Head, Callable[[Sequence[int], int], LocalHead | AttentionHead]] = {
    Head.EVIDENCE: lambda channels, outputs: LocalHead(channels, outputs, SCALE_BY_SCALE),
    Head.EVIDENCE_JOINT: lambda channels, outputs: LocalHead(channels, outputs, JOINTLY),
    Head.EVIDENCE_LAST: lambda channels, outputs: LocalHead(channels, outputs, SCALE_BY_SCALE),
    Head.AVERAGE: lambda channels, outputs: LocalHead(channels, outputs, MEAN),
    Head.ATTENTION: AttentionHead,
}
"""From the channels of the maps that the head reads, and the number of outputs, to a module that makes `Evidence`."""

READ_ALONE = frozenset({Head.EVIDENCE_LAST, Head.AVERAGE})
"""Heads that read the coarsest map only. What would make finer ones ready for them is not built: DP would add noise
to its weights, and no gradient."""


def _pointwise(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(group_norm(width), nn.ReLU(), nn.Conv2d(width, outputs, kernel_size=1))


def _shares(by_scale: Tensor) -> Tensor:
    return (by_scale * POOLING_SHARPNESS).softmax(1)


def _log_mean_exp(values: Tensor) -> Tensor:
    """A maximum over the last dimension, made soft, that equal values leave as they are."""
    sharp = values * POOLING_SHARPNESS
    return (sharp.logsumexp(-1) - math.log(values.shape[-1])) / POOLING_SHARPNESS
