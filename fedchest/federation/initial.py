"""The study's first global model and where it came from; both are hashed on chain."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.errors import ConfigError, StoreError
from fedchest.federation.config import ModelSettings
from fedchest.federation.phantoms import SEED, SITES, phantoms, public_negatives
from fedchest.federation.study import Study
from fedchest.learning.objectives import objective_named
from fedchest.learning.optimisation import Optimisation
from fedchest.learning.plain import train_plainly
from fedchest.models.adapters import is_adapter, name_without_adapter
from fedchest.models.checkpoints import Source
from fedchest.models.chest import ChestModel, build_model
from fedchest.models.parameters import load_parameters, parameters
from fedchest.protection.randomness import Randomness

PRETRAINING = Optimisation("adam", learning_rate=2e-3)
PRETRAINING_BATCH = 64

_OWN_STREAMS = ("encoder.", "autoencoder.", "members.")
"""What the names of a `ChestModel`'s parameters begin with, and those of a bare encoder don't."""

OnStep = Callable[[int], None]


@dataclass(frozen=True)
class InitialModel:
    """The canonical bytes of the first model, and the JSON that says how to make it again."""

    model: bytes
    provenance: bytes


def make_initial_model(
    settings: ModelSettings, study: Study, seed: int, on_step: OnStep | None = None
) -> InitialModel:
    """Build the model from the seed, from given weights, or by pretraining on public rendered images.

    No patient's data is read. `on_step` is told each pretraining step. Raises ConfigError for weights that do
    not fit the encoder.
    """
    provenance: dict[str, Any] = {"seed": seed, "model": asdict(study.model)}
    if settings.weights is not None:
        model = _from_weights(settings.weights, study, seed)
        provenance["weights"] = (
            settings.weights
            if settings.weights == "timm"
            else sha256(settings.weights.read_bytes()).hexdigest()
        )
    else:
        model = build_model(study.model, seed)
    if settings.pretrain_steps:
        pretrain(model, study, settings, seed, on_step)
        provenance["pretraining"] = {
            "phantom_seed": SEED,
            "phantom_sites": SITES,
            "patients": settings.pretrain_patients,
            "steps": settings.pretrain_steps,
            "batch": PRETRAINING_BATCH,
            "optimisation": asdict(PRETRAINING),
        }
    text = json.dumps(provenance, sort_keys=True, separators=(",", ":"), default=str)
    return InitialModel(model_bytes(parameters(model)), text.encode())


def pretrain(
    model: ChestModel, study: Study, settings: ModelSettings, seed: int, on_step: OnStep | None
) -> None:
    """Train `model` in place, without DP, on public rendered images at the study's size and labels."""
    objective = objective_named(study.stages[-1].objective, private=False, class_weights=study.class_weights)
    train_plainly(
        model,
        phantoms(study, settings.pretrain_patients),
        PRETRAINING,
        objective,
        steps=settings.pretrain_steps,
        batch=PRETRAINING_BATCH,
        random=Randomness.derived(seed.to_bytes(8, "big"), "pretraining"),
        viewing=study.viewing,
        public_images=public_negatives(study) if objective.needs_public else None,
        on_step=on_step,
    )


def _from_weights(weights: Source, study: Study, seed: int) -> ChestModel:
    """A model that FedChest wrote, or one whose encoder has timm's weights or those of a foreign file.

    The former may have another head, and need not have the adapters that this study adds.
    """
    if weights == "timm":
        return build_model(replace(study.model, encoder_weights=weights), seed)
    if not weights.is_file():
        raise ConfigError(f"model.weights = {weights}: the file does not exist.")
    try:
        given = parse_model(weights.read_bytes())
    except StoreError:
        given = {}
    if not any(name.startswith(_OWN_STREAMS) for name in given):
        return build_model(replace(study.model, encoder_weights=weights), seed)
    model = build_model(study.model, seed)
    own = dict(model.named_parameters())
    sources = {name: name if name in given else name_without_adapter(name) for name in own}
    fitting = {
        name: given[source]
        for name, source in sources.items()
        if source in given and given[source].shape == own[name].shape
    }
    of_streams = {id(parameter) for stream in model.streams for parameter in stream.parameters()}
    for name, parameter in own.items():
        if (
            id(parameter) in of_streams
            and name not in fitting
            and not (is_adapter(name) and name not in given)
        ):
            raise ConfigError(
                f"model.weights = {weights}: {name} is missing there or has another shape, so it is the model of"
                " another encoder."
            )
    load_parameters(model, fitting)
    return model
