"""What a model is built from, and which settings no model can have."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fedchest.errors import ConfigError
from fedchest.models.checkpoints import Source
from fedchest.models.dual_stream import Streams
from fedchest.models.fusion import Fusion
from fedchest.models.heads import Head
from fedchest.models.hierarchy import PARENTS, paths
from fedchest.models.normalization import Normalization

SMALLEST_IMAGE = 32


class Part(StrEnum):
    """What a network may say beside its logits; the field of `Output` is named in each part's comment."""

    PROJECTOR = "projector"  # embedding
    PROTOTYPES = "prototypes"  # prototype_logits
    PREDICTOR = "predictor"  # prediction
    CLUSTERS = "clusters"  # clusters
    ROTATION = "rotation"  # rotation
    DECODER = "decoder"  # reconstruction


@dataclass(frozen=True)
class ModelConfig:
    """What a model is built from. `image_size` is in pixels, `embedding` the width of the projected image."""

    label_names: tuple[str, ...]
    encoder: str = "xception-nano"
    image_size: int = 64
    embedding: int = 64
    encoder_weights: Source | None = None
    normalization: Normalization = Normalization.GROUP
    head: Head = Head.EVIDENCE
    fusion: Fusion = Fusion.NONE
    streams: Streams = Streams.ENCODER
    hierarchy: bool = False
    """Each label's logit is conditional on its parent's presence (Pham et al. 2021, section 3)."""
    multiclass: tuple[str, ...] = ()
    """Labels with a third answer, "uncertain" (Irvin et al. 2019, U-MultiClass)."""
    parts: tuple[Part, ...] = (Part.PROJECTOR, Part.PROTOTYPES)
    """Beside the classifier; what one of them needs comes with it."""
    adapter_rank: int = 0
    """Of low-rank adapters on the encoder; 0: none."""
    members: int = 1
    """Networks of an ensemble."""


def refuse_unbuildable(config: ModelConfig) -> None:
    """Raise ConfigError for settings that no model can have, whatever its encoder."""
    if config.image_size < SMALLEST_IMAGE:
        raise ConfigError(f"image_size {config.image_size} is below the least, {SMALLEST_IMAGE} pixels.")
    if not config.label_names:
        raise ConfigError("label_names is empty: the model needs at least one label to predict.")
    if config.members < 1:
        raise ConfigError(f"model.members = {config.members}: an ensemble has at least one network.")
    if config.encoder_weights is not None and config.streams is Streams.AUTOENCODER:
        raise ConfigError(
            f"model.streams = {config.streams} builds no encoder, so the weights {config.encoder_weights} can't be"
            " loaded."
        )
    _refuse_unknown_multiclass(config.multiclass, config.label_names)
    if config.hierarchy and all(len(path) == 1 for path in paths(config.label_names)):
        raise ConfigError(
            f"model.hierarchy = true needs a label together with one above it, such as {_A_PAIR}, and the labels "
            f"are {', '.join(config.label_names)}; set data.labels = all, or model.hierarchy = false."
        )


_A_PAIR = " and ".join(next(iter(PARENTS.items())))


def _refuse_unknown_multiclass(multiclass: Sequence[str], label_names: Sequence[str]) -> None:
    for name in multiclass:
        if name not in label_names:
            raise ConfigError(
                f"model.multiclass names {name!r}, which is not a label; allowed are {', '.join(label_names)}."
            )
