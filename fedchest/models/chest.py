"""The multi-label chest radiograph model: streams, their fusion, a head, and what objectives ask beside it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedchest.models.config import ModelConfig, Part, refuse_unbuildable
from fedchest.models.dual_stream import (
    JOINS,
    STRIDES_ALONE,
    AutoencoderStream,
    DualStream,
    Stream,
    Streams,
    decoder,
    resized,
)
from fedchest.models.encoders import SCALES, Encoder, build_encoder
from fedchest.models.fusion import FUSIONS
from fedchest.models.heads import HEADS, READ_ALONE, Evidence
from fedchest.models.hierarchy import unconditional
from fedchest.models.normalization import refuse_batch_coupling
from fedchest.models.parts import QUARTER_TURNS, Clusters, Prototypes, predictor, projector

__all__ = ["ChestModel", "Decision", "ModelConfig", "Output", "Part", "build_model"]

_IMPOSSIBLE = -1e4
"""The logit of an answer that a label does not have."""


class Output(NamedTuple):
    """What the model says about N images, for training; a field whose part was not asked for is None."""

    logits: Tensor
    """float32[N,L], positive against negative; given that the parent is there, under `hierarchy`."""
    uncertainty: Tensor | None = None
    """float32[N,L], the logit of "uncertain" beside 0 for negative and `logits` for positive."""
    embedding: Tensor | None = None
    """float32[N,D] of unit length."""
    prototype_logits: Tensor | None = None
    """float32[N,L]"""
    prediction: Tensor | None = None
    """float32[N,D], of the projection before its length was made one."""
    clusters: Tensor | None = None
    """float32[N,K], cosines in [-1,1] to the cluster centres."""
    rotation: Tensor | None = None
    """float32[N,4], logits of the quarter turns that the image was given."""
    reconstruction: Tensor | None = None
    """float32[N,1,H,W]"""


class Decision(NamedTuple):
    """Why the model says what it says: `Output.logits` are the sum of `by_scale` over the S scales.

    `cells[s]` is float32[N,L,h,w], what each cell at scale s adds to the logit, times the number of cells there
    (`heads.LocalHead.contributions`); `by_scale` float32[N,S,L], what the scale adds. Both are in the order of
    `ChestModel.strides`, finest first.
    """

    cells: list[Tensor]
    by_scale: Tensor


class ChestModel(nn.Module):
    """Maps grey images to one logit a label; no row of the output depends on another row of the input.

    That independence is tested by `tests/models/test_compositions.py::test_rows_do_not_depend_on_each_other`.
    """

    config: ModelConfig

    @property
    def members(self) -> Sequence["ChestModel"]:
        """The networks that this is the mean of; a single one is its only member."""
        raise NotImplementedError

    @property
    def streams(self) -> Sequence[Stream]:
        """What turns images into maps, in all members: their parameters are the encoder's, all others the head's."""
        raise NotImplementedError

    @property
    def strides(self) -> tuple[int, ...]:
        """The pixels that a cell spans at each scale that the head reads, finest first."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Output:
        """What the objectives read about images float32[N,1,H,W]."""
        raise NotImplementedError

    def predict(self, images: Tensor) -> Tensor:
        """Logits float32[N,L] of each label's presence, whatever its parent's."""
        raise NotImplementedError

    def decide(self, images: Tensor) -> Decision:
        """Which cells of images float32[N,1,H,W] `Output.logits` come from."""
        raise NotImplementedError


class Network(ChestModel):
    """One network, of the streams, fusion, head and parts that its configuration names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        labels = len(config.label_names)
        self.encoder, self.autoencoder = _streams(config)
        self.scales = 1 if config.head in READ_ALONE else SCALES
        by_stream = [stream.channels[-self.scales :] for stream in self.streams]
        self.joining = DualStream(config.streams, *by_stream) if config.streams in JOINS else None
        channels = by_stream[0]
        self.fusion = FUSIONS[config.fusion](channels)
        self.head = HEADS[config.head](self.fusion.channels, labels + len(config.multiclass))
        self._add_parts(set(config.parts), channels[-1], labels)

    def _add_parts(self, parts: set[Part], width: int, labels: int) -> None:
        projected = parts & {Part.PROJECTOR, Part.PROTOTYPES, Part.PREDICTOR, Part.CLUSTERS}
        embedding, source = self.config.embedding, self.streams[-1]
        self.projector = projector(width, embedding) if projected else None
        self.prototypes = Prototypes(embedding, labels) if Part.PROTOTYPES in parts else None
        self.predictor = predictor(embedding) if Part.PREDICTOR in parts else None
        self.clusters = Clusters(embedding) if Part.CLUSTERS in parts else None
        self.rotation = nn.Linear(width, QUARTER_TURNS) if Part.ROTATION in parts else None
        self.decoder = decoder(source.channels[-1], source.strides[-1]) if Part.DECODER in parts else None

    @property
    def members(self) -> Sequence[ChestModel]:
        """Itself."""
        return (self,)

    @property
    def streams(self) -> Sequence[Stream]:
        """The encoder, the autoencoder's, or both in this order."""
        return [stream for stream in (self.encoder, self.autoencoder) if stream is not None]

    @property
    def strides(self) -> tuple[int, ...]:
        """Those of the first stream, to which the other is fitted."""
        return self.streams[0].strides[-self.scales :]

    def forward(self, images: Tensor) -> Output:
        """Logits of images float32[N,1,H,W], and what each part says."""
        maps, source = self._maps(images)
        logits, uncertainty = self._answers(self._evidence(maps).by_scale.sum(1))
        summary = maps[-1].mean((2, 3))
        projection = _asked(self.projector, summary)
        embedding = None if projection is None else functional.normalize(projection, dim=1)
        reconstruction = _asked(self.decoder, source)
        return Output(
            logits=logits,
            uncertainty=uncertainty,
            embedding=embedding,
            prototype_logits=_asked(self.prototypes, embedding),
            prediction=_asked(self.predictor, projection),
            clusters=_asked(self.clusters, embedding),
            rotation=_asked(self.rotation, summary),
            reconstruction=None if reconstruction is None else resized(reconstruction, images.shape[-2:]),
        )

    def predict(self, images: Tensor) -> Tensor:
        """Logits float32[N,L]; under `hierarchy` of the product of the probabilities along each label's path.

        A label's "uncertain" is left out: positive is held against negative only (Irvin et al. 2019, U-MultiClass).
        """
        logits, _ = self._answers(self._evidence(self._maps(images)[0]).by_scale.sum(1))
        return unconditional(logits, self.config.label_names) if self.config.hierarchy else logits

    def decide(self, images: Tensor) -> Decision:
        """The evidence for "positive"."""
        cells, by_scale = self._evidence(self._maps(images)[0])
        added, labels = self.head.contributions(cells), len(self.config.label_names)
        return Decision([scale[:, :labels] for scale in added], by_scale[:, :, :labels])

    def _maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The maps that the head reads, and the last of the stream that the image is to be made from again."""
        by_stream = [stream(images)[-self.scales :] for stream in self.streams]
        maps = by_stream[0] if self.joining is None else self.joining(*by_stream)
        return maps, by_stream[-1][-1]

    def _evidence(self, maps: list[Tensor]) -> Evidence:
        evidence: Evidence = self.head(self.fusion(maps))
        return evidence

    def _answers(self, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """The head's outputs float32[N,L+M] as the labels' logits and, where M labels have it, "uncertain"."""
        names, multiclass = self.config.label_names, self.config.multiclass
        if not multiclass:
            return outputs, None
        logits, third = outputs[:, : len(names)], outputs[:, len(names) :]
        impossible = torch.full_like(logits[:, 0], _IMPOSSIBLE)
        columns = [third[:, multiclass.index(name)] if name in multiclass else impossible for name in names]
        return logits, torch.stack(columns, dim=1)


class Ensemble(ChestModel):
    """Networks whose logits are averaged; what the objectives read beside the logits is each member's own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        networks = [Network(replace(config, members=1)) for _ in range(config.members)]
        # Not as an attribute, which the property of that name would hide.
        self._modules["members"] = nn.ModuleList(networks)

    @property
    def members(self) -> Sequence[ChestModel]:
        """The networks."""
        return cast(Sequence[ChestModel], self._modules["members"])

    @property
    def streams(self) -> Sequence[Stream]:
        """Those of all members."""
        return [stream for member in self.members for stream in member.streams]

    @property
    def strides(self) -> tuple[int, ...]:
        """Those of any member."""
        return self.members[0].strides

    def forward(self, images: Tensor) -> Output:
        """The mean logits, and the mean logits of "uncertain"; the other fields are None."""
        outputs = [member(images) for member in self.members]
        thirds = [output.uncertainty for output in outputs if output.uncertainty is not None]
        return Output(_mean([output.logits for output in outputs]), _mean(thirds) if thirds else None)

    def predict(self, images: Tensor) -> Tensor:
        """The mean of the members' predictions, float32[N,L]."""
        return _mean([member.predict(images) for member in self.members])

    def decide(self, images: Tensor) -> Decision:
        """The mean evidence: the members have the same scales."""
        cells, by_scale = zip(*(member.decide(images) for member in self.members), strict=True)
        return Decision([_mean(scale) for scale in zip(*cells, strict=True)], _mean(by_scale))


def build_model(config: ModelConfig, seed: int) -> ChestModel:
    """Build the model with weights drawn from the public `seed`; the same seed gives the same weights.

    An ensemble's networks are drawn one after the other, the first as a single network would be. Raises ConfigError
    for an unknown encoder and for settings that no model can have.
    """
    refuse_unbuildable(config)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = Network(config) if config.members == 1 else Ensemble(config)
    refuse_batch_coupling(model)
    return model


def _streams(config: ModelConfig) -> tuple[Encoder | None, AutoencoderStream | None]:
    if config.streams == Streams.AUTOENCODER:
        return None, AutoencoderStream(STRIDES_ALONE)
    encoder = build_encoder(
        config.encoder,
        config.encoder_weights,
        normalization=config.normalization,
        adapter_rank=config.adapter_rank,
    )
    return encoder, AutoencoderStream(encoder.strides) if config.streams in JOINS else None


def _asked(part: nn.Module | None, about: Tensor | None) -> Tensor | None:
    """What a part says; None without the part."""
    return None if part is None or about is None else part(about)


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(values)).mean(0)
