"""A finished run's global model, ready to be used."""

from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from fedchest.aggregation.model import parse_model
from fedchest.errors import StoreError
from fedchest.federation.directory import RunDirectory, read_document, read_study
from fedchest.federation.study import Study
from fedchest.models.chest import ChestModel, build_model
from fedchest.models.parameters import load_parameters


class Calibration(BaseModel):
    """`calibration.json`: the model that was calibrated, and each label's temperature; None where none can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_sha256: str
    temperatures: dict[str, float | None]


class RunModel(NamedTuple):
    """The model after finalized round `round`, with the study that it was trained under."""

    study: Study
    round: int
    model: ChestModel
    sha256: str
    """Of the model's file, in hex."""
    temperatures: Mapping[str, float]
    """By which the logits of each label that was calibrated are to be divided."""


def load_run_model(directory: RunDirectory, round_number: int | None = None) -> RunModel:
    """The global model of `round_number`, by default the last one.

    Raises StoreError when the folder is no run or the round has no model.
    """
    study = read_study(directory.study)
    found = {
        int(path.stem.removeprefix("round-")): path for path in directory.models.glob("round-*.safetensors")
    }
    number = max(found, default=None) if round_number is None else round_number
    if number is None or number not in found:
        rounds = ", ".join(map(str, sorted(found))) or "none"
        raise StoreError(
            f"{directory.models} holds no model of round {number}; there are models of rounds {rounds}."
        )
    content = found[number].read_bytes()
    model = build_model(study.model, seed=0)
    load_parameters(model, parse_model(content))
    digest = sha256(content).hexdigest()
    return RunModel(study, number, model, digest, _temperatures(directory, digest))


def _temperatures(directory: RunDirectory, digest: str) -> dict[str, float]:
    if not directory.calibration.exists():
        return {}
    calibration = read_document(directory.calibration, Calibration)
    if calibration.model_sha256 != digest:
        return {}
    return {name: value for name, value in calibration.temperatures.items() if value is not None}
