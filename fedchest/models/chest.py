"""The multi-label chest radiograph model: encoder, local evidence at three scales, label prototypes."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedchest.errors import ConfigError
from fedchest.models.encoders import build_encoder
from fedchest.models.normalization import group_norm, refuse_batch_coupling

POOLING_SHARPNESS = 4.0
PROTOTYPE_TEMPERATURE = 0.2
SMALLEST_IMAGE = 32


@dataclass(frozen=True)
class ModelConfig:
    """What a model is built from. `image_size` is in pixels, `embedding` the width of the projected image."""

    label_names: tuple[str, ...]
    encoder: str = "xception-nano"
    image_size: int = 64
    embedding: int = 64
    encoder_weights: Path | None = None


class Output(NamedTuple):
    """What the model says about N images: the prediction, the unit-length embedding, the prototypes' view."""

    logits: Tensor
    embedding: Tensor
    prototype_logits: Tensor


class Decision(NamedTuple):
    """Why the model says what it says: its logits are the sum of `by_scale` over the scales.

    `cells[s]` is float32[N,L,h,w], the evidence of each cell at scale s; `by_scale` float32[N,S,L], what its
    pooling adds to the logit. Both are in the encoder's order of scales, finest first.
    """

    cells: list[Tensor]
    by_scale: Tensor


class ChestModel(nn.Module):
    """Map grey images to one logit a label; no row of the output depends on another row of the input.

    That independence is tested by `tests/models/test_chest.py::test_rows_do_not_depend_on_each_other`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        labels = len(config.label_names)
        self.encoder = build_encoder(config.encoder, config.encoder_weights)
        self.evidence = nn.ModuleList(_LocalEvidence(width, labels) for width in self.encoder.channels)
        self.projector = nn.Sequential(
            nn.Linear(self.encoder.channels[-1], config.embedding), nn.LayerNorm(config.embedding)
        )
        self.prototypes = nn.Linear(config.embedding, 2 * labels, bias=False)

    def forward(self, images: Tensor) -> Output:
        """Map images float32[N,1,H,W] to logits float32[N,L] and embeddings float32[N,D]."""
        maps = self.encoder(images)
        logits = torch.stack([_pooled(cells) for cells in self._cells(maps)]).sum(0)
        embedding = functional.normalize(self.projector(maps[-1].mean((2, 3))), dim=1)
        return Output(logits, embedding, self._prototype_logits(embedding))

    def decide(self, images: Tensor) -> Decision:
        """The logits of images float32[N,1,H,W] with the local evidence that they are the pooled sum of."""
        cells = self._cells(self.encoder(images))
        return Decision(cells, torch.stack([_pooled(scale) for scale in cells], dim=1))

    def _cells(self, maps: list[Tensor]) -> list[Tensor]:
        return [head(scale) for head, scale in zip(self.evidence, maps, strict=True)]

    def _prototype_logits(self, embedding: Tensor) -> Tensor:
        """Cosine to each label's positive prototype less that to its negative one, over the temperature."""
        # The prototypes' length is a constant of the step, so that each row's gradient stays a leaf layer's.
        lengths = self.prototypes.weight.detach().norm(dim=1).clamp(min=1e-6)
        cosines: Tensor = self.prototypes(embedding) / lengths
        return (cosines[:, 0::2] - cosines[:, 1::2]) / PROTOTYPE_TEMPERATURE


class _LocalEvidence(nn.Module):
    """One logit a label and cell of a feature map."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.norm = group_norm(width)
        self.logits = nn.Conv2d(width, labels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        cells: Tensor = self.logits(self.norm(features).relu())
        return cells


def _pooled(cells: Tensor) -> Tensor:
    """Log-mean-exp of cells float32[N,L,h,w] over the cells (Pinheiro and Collobert 2015): float32[N,L]."""
    values = cells.flatten(2) * POOLING_SHARPNESS
    return (values.logsumexp(2) - math.log(values.shape[2])) / POOLING_SHARPNESS


def build_model(config: ModelConfig, seed: int) -> ChestModel:
    """Build the model with weights drawn from the public `seed`; the same seed gives the same weights.

    Raises ConfigError for an unknown encoder, an image too small for it, or no labels.
    """
    if config.image_size < SMALLEST_IMAGE:
        raise ConfigError(f"image_size {config.image_size} is below the least, {SMALLEST_IMAGE} pixels.")
    if not config.label_names:
        raise ConfigError("label_names is empty: the model needs at least one label to predict.")
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = ChestModel(config)
    refuse_batch_coupling(model)
    return model
