"""The multi-label chest radiograph model: encoder, local evidence at three scales, label prototypes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
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
CLUSTERS = 32
NO_THIRD_ANSWER = -1e4


class Part(StrEnum):
    """What a model may have beside its classifier; objectives say which they need."""

    PROJECTOR = "projector"
    PROTOTYPES = "prototypes"
    PREDICTOR = "predictor"
    CLUSTERS = "clusters"
    ROTATION = "rotation"
    DECODER = "decoder"


@dataclass(frozen=True)
class ModelConfig:
    """What a model is built from. `image_size` is in pixels, `embedding` the width of the projected image."""

    label_names: tuple[str, ...]
    encoder: str = "xception-nano"
    image_size: int = 64
    embedding: int = 64
    encoder_weights: Path | None = None
    hierarchy: bool = False
    multiclass: tuple[str, ...] = ()
    parts: tuple[Part, ...] = (Part.PROJECTOR, Part.PROTOTYPES)


class Output(NamedTuple):
    """What the model says about N images; a field whose part the model lacks is None.

    `logits` float32[N,L]; `uncertainty` float32[N,L], the third logit; `embedding` float32[N,D] of unit length;
    `prototype_logits` float32[N,L]; `prediction` float32[N,D]; `clusters` float32[N,K]; `rotation` float32[N,4];
    `reconstruction` float32[N,1,H,W].
    """

    logits: Tensor
    uncertainty: Tensor | None = None
    embedding: Tensor | None = None
    prototype_logits: Tensor | None = None
    prediction: Tensor | None = None
    clusters: Tensor | None = None
    rotation: Tensor | None = None
    reconstruction: Tensor | None = None


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
        width, embedding = self.encoder.channels[-1], config.embedding
        self.third = nn.Linear(width, labels) if config.multiclass else None
        self.projector = nn.Sequential(nn.Linear(width, embedding), nn.LayerNorm(embedding))
        self.prototypes = nn.Linear(embedding, 2 * labels, bias=False)
        self.predictor = self._part(
            Part.PREDICTOR,
            nn.Linear(embedding, embedding),
            nn.LayerNorm(embedding),
            nn.ReLU(),
            nn.Linear(embedding, embedding),
        )
        self.clusters = nn.Linear(embedding, CLUSTERS, bias=False) if Part.CLUSTERS in config.parts else None
        self.rotation = self._part(Part.ROTATION, nn.Linear(width, 4))
        stride = self.encoder.strides[-1]
        self.decoder = self._part(Part.DECODER, nn.Conv2d(width, stride**2, 1), nn.PixelShuffle(stride))

    def _part(self, part: Part, *layers: nn.Module) -> nn.Module | None:
        return nn.Sequential(*layers) if part in self.config.parts else None

    @property
    def members(self) -> Sequence["ChestModel"]:
        """The networks that the model consists of."""
        return (self,)

    def forward(self, images: Tensor) -> Output:
        """Map images float32[N,1,H,W] to logits float32[N,L] and what the parts make of them."""
        maps = self.encoder(images)
        logits = torch.stack([_pooled(cells) for cells in self._cells(maps)]).sum(0)
        features = maps[-1].mean((2, 3))
        projection = self.projector(features)
        embedding = functional.normalize(projection, dim=1)
        return Output(
            logits,
            self._third_logits(features) if self.third else None,
            embedding,
            self._prototype_logits(embedding),
            self.predictor(projection) if self.predictor else None,
            _cosines(self.clusters, embedding) if self.clusters else None,
            self.rotation(features) if self.rotation else None,
            self.decoder(maps[-1]) if self.decoder else None,
        )

    def _third_logits(self, features: Tensor) -> Tensor:
        has = torch.tensor([name in self.config.multiclass for name in self.config.label_names])
        logits: Tensor = self.third(features) if self.third else features
        return logits.where(has.to(features.device), NO_THIRD_ANSWER)

    def decide(self, images: Tensor) -> Decision:
        """The logits of images float32[N,1,H,W] with the local evidence that they are the pooled sum of."""
        cells = self._cells(self.encoder(images))
        return Decision(cells, torch.stack([_pooled(scale) for scale in cells], dim=1))

    def _cells(self, maps: list[Tensor]) -> list[Tensor]:
        return [head(scale) for head, scale in zip(self.evidence, maps, strict=True)]

    def _prototype_logits(self, embedding: Tensor) -> Tensor:
        """Cosine to each label's positive prototype less that to its negative one, over the temperature."""
        cosines = _cosines(self.prototypes, embedding)
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


def _cosines(directions: nn.Linear, embedding: Tensor) -> Tensor:
    # The directions' length is a constant of the step, so that each row's gradient stays a leaf layer's.
    cosines: Tensor = directions(embedding) / directions.weight.detach().norm(dim=1).clamp(min=1e-6)
    return cosines


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
