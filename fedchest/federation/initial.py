"""The study's first global model and where it came from; both are hashed on chain."""

import json
from dataclasses import dataclass
from typing import Any

from fedchest.aggregation.model import model_bytes
from fedchest.federation.config import Settings
from fedchest.federation.study import Study
from fedchest.models.chest import build_model
from fedchest.models.parameters import parameters


@dataclass(frozen=True)
class InitialModel:
    """The canonical bytes of the first model, and the JSON that says how to make it again."""

    model: bytes
    provenance: bytes


def make_initial_model(settings: Settings, study: Study) -> InitialModel:
    """Build the model from the seed, or read the file that the settings name.

    Raises ConfigError for weights that do not fit the encoder.
    """
    model = build_model(study.model, seed=settings.run.seed)
    provenance: dict[str, Any] = {"seed": settings.run.seed, "encoder": study.model.encoder}
    return InitialModel(
        model=model_bytes(parameters(model)),
        provenance=json.dumps(provenance, sort_keys=True, separators=(",", ":")).encode(),
    )
