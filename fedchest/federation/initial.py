"""The study's first global model and where it came from; both are hashed on chain."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.data.chexpert import read_chexpert
from fedchest.data.dataset import ChestDataset, load_dataset
from fedchest.data.phantom.writer import write_phantom_cohort
from fedchest.errors import ConfigError, StoreError
from fedchest.federation.config import ModelSettings
from fedchest.federation.study import Study
from fedchest.learning.objectives import objective_named
from fedchest.learning.optimisation import Optimisation
from fedchest.learning.plain import train_plainly
from fedchest.models.chest import ChestModel, build_model
from fedchest.models.parameters import load_parameters, parameters
from fedchest.protection.randomness import Randomness

PHANTOM_SEED, PHANTOM_SITES, PHANTOM_MOST_STUDIES = 90_001, 3, 2
"""Of the public rendered patients: another seed than any cohort's, and so other patients and other looks."""

PRETRAINING = Optimisation("adam", learning_rate=2e-3)
PRETRAINING_BATCH = 64

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
        provenance["weights_sha256"] = sha256(settings.weights.read_bytes()).hexdigest()
    else:
        model = build_model(study.model, seed)
    if settings.pretrain_steps:
        pretrain(model, study, settings, seed, on_step)
        provenance["pretraining"] = {
            "phantom_seed": PHANTOM_SEED,
            "phantom_sites": PHANTOM_SITES,
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
    with TemporaryDirectory() as folder:
        data = _phantoms(Path(folder), study, settings.pretrain_patients)
        train_plainly(
            model,
            data,
            PRETRAINING,
            objective_named(study.stages[-1].objective, private=False),
            steps=settings.pretrain_steps,
            batch=PRETRAINING_BATCH,
            random=Randomness.derived(seed.to_bytes(8, "big"), "pretraining"),
            on_step=on_step,
        )


def _phantoms(folder: Path, study: Study, patients: int) -> ChestDataset:
    write_phantom_cohort(
        folder,
        patients=patients,
        validation_patients=0,
        size=study.model.image_size,
        seed=PHANTOM_SEED,
        sites=PHANTOM_SITES,
        masks=False,
        most_studies=PHANTOM_MOST_STUDIES,
    )
    return load_dataset(
        read_chexpert(folder, "train", views=study.views),
        size=study.model.image_size,
        cache_dir=folder,
        label_names=study.labels,
        policies=study.uncertainty,
    )


def _from_weights(weights: Path, study: Study, seed: int) -> ChestModel:
    """A model that FedChest wrote, or timm's weights for a timm encoder."""
    if not weights.is_file():
        raise ConfigError(f"model.weights = {weights}: the file does not exist.")
    model = build_model(study.model, seed)
    try:
        load_parameters(model, parse_model(weights.read_bytes()))
    except StoreError:
        return build_model(replace(study.model, encoder_weights=weights), seed)
    return model
