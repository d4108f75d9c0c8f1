"""A finished run's global model, ready to be used."""

from hashlib import sha256
from typing import NamedTuple

from fedchest.aggregation.model import parse_model
from fedchest.errors import StoreError
from fedchest.federation.directory import RunDirectory, read_study
from fedchest.federation.study import Study
from fedchest.models.chest import ChestModel, build_model
from fedchest.models.parameters import load_parameters


class RunModel(NamedTuple):
    """The model after finalized round `round`, with the study that it was trained under."""

    study: Study
    round: int
    model: ChestModel
    sha256: str
    """Of the model's file, in hex."""


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
    return RunModel(study, number, model, sha256(content).hexdigest())
