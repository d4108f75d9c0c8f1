"""Training on one cohort without a federation: the same stages, private steps and budget, and no chain."""

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.data.notices import notices
from fedchest.errors import StoreError
from fedchest.federation.config import Settings
from fedchest.federation.directory import (
    ROUNDS,
    SITE,
    RunDirectory,
    SiteDocument,
    read_document,
    read_json,
    read_study,
)
from fedchest.federation.evaluation import PublicEvaluation
from fedchest.federation.prepare import prepare
from fedchest.federation.progress import ProgressLog
from fedchest.federation.study import Study, weight_class_of
from fedchest.federation.trainer import LocalTrainer
from fedchest.files import write_atomically
from fedchest.models.chest import build_model
from fedchest.models.parameters import Arrays

Announce = Callable[[str], None]


class CentralRound(BaseModel):
    """One round: its stage's objective, and the model's figures on the validation split; None where unmeasured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    round: int
    objective: str
    trained: str
    mean_auroc: float | None
    auroc: dict[str, float | None] | None
    seconds: float


class CentralResults(BaseModel):
    """Everything that `results.json` of a central training holds. `epsilon` is the cohort's at `delta`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    parameters: int
    start: str
    images: int
    dp: bool
    epsilon: float | None
    delta: float | None
    initial_auroc: float | None
    planned_rounds: int
    rounds: list[CentralRound]

    @property
    def complete(self) -> bool:
        """Whether every round was trained."""
        return len(self.rounds) == self.planned_rounds


def train_centrally(settings: Settings, root: Path, announce: Announce) -> CentralResults:
    """Train on the training split, below `root`; `announce` is told each stage. Raises FedChestError."""
    announce("Preparing: reading and decoding the data, making the initial model")
    alone = settings.partition.model_copy(update={"institutions": 1, "local_validation": 0.0})
    prepared = prepare(settings.model_copy(update={"partition": alone}), root)
    _write_model(prepared.directory, 0, prepared.initial.model)
    return resume_centrally(root, announce)


def resume_centrally(root: Path, announce: Announce) -> CentralResults:
    """Go on with the training below `root` from its last finished round. Raises FedChestError."""
    directory = RunDirectory(root)
    settings = read_document(directory.settings, Settings)
    if len(directory.institutions()) != 1 or not directory.models.is_dir():
        raise StoreError(
            f"{root} is not a central training: fedchest simulate --resume goes on with a federation."
        )
    study, folder = read_study(directory.study), directory.institution(0)
    site = read_document(folder / SITE, SiteDocument)
    trainer = LocalTrainer(site, study, folder)
    for notice in notices(trainer.training_set()):
        announce(f"Note: {notice}")
    announce(f"Training {settings.model.model} on {len(site.patients)} patients")
    _train_rounds(directory, study, site, trainer)
    results = _collect(directory, settings, study, trainer)
    write_atomically(directory.results, (results.model_dump_json(indent=1) + "\n").encode())
    return results


def _train_rounds(directory: RunDirectory, study: Study, site: SiteDocument, trainer: LocalTrainer) -> None:
    """Train, store and measure every round that is not there yet."""
    evaluation, log = PublicEvaluation.open(directory.coordinator), ProgressLog(directory.coordinator)
    weight_class = weight_class_of(len(site.patients), study.patients_per_weight_unit)
    done = len(list(directory.models.glob("round-*.safetensors"))) - 1
    trainer.refuse_beyond(site.epsilon_budget, weight_class, study.rounds - done)
    model = _model(directory, done)
    evaluation.note(finalized_rounds=done, model=model_bytes(model), seconds=0.0)
    for number in range(done + 1, study.rounds + 1):
        start = time.monotonic()
        model = trainer.train_alone(model, weight_class, number - 1, budget=site.epsilon_budget)
        _write_model(directory, number, model_bytes(model))
        seconds = time.monotonic() - start
        figures = evaluation.note(finalized_rounds=number, model=model_bytes(model), seconds=seconds)
        log.report("measured", finalized_rounds=number, mean_auroc=figures.mean_auroc)


def _collect(
    directory: RunDirectory, settings: Settings, study: Study, trainer: LocalTrainer
) -> CentralResults:
    notes = {note["finalized_rounds"]: note for note in read_json(directory.coordinator / ROUNDS)}
    network = build_model(study.model, seed=0)
    privacy = study.privacy
    return CentralResults(
        model=settings.model.model,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        start=settings.model.start(),
        images=len(trainer.training_set()),
        dp=privacy is not None,
        epsilon=None if privacy is None else trainer.epsilon(privacy.delta),
        delta=None if privacy is None else privacy.delta,
        initial_auroc=notes.get(0, {}).get("mean_auroc"),
        planned_rounds=study.rounds,
        rounds=[_round(study, notes[number]) for number in range(1, study.rounds + 1) if number in notes],
    )


def _round(study: Study, note: dict[str, object]) -> CentralRound:
    number = note["finalized_rounds"]
    assert isinstance(number, int)
    stage = study.stage(number - 1)
    return CentralRound.model_validate(
        {
            "round": number,
            "objective": stage.objective,
            "trained": stage.trainable,
            **{name: note[name] for name in ("mean_auroc", "auroc", "seconds")},
        }
    )


def _write_model(directory: RunDirectory, number: int, content: bytes) -> None:
    write_atomically(directory.models / f"round-{number:03d}.safetensors", content)


def _model(directory: RunDirectory, number: int) -> Arrays:
    return parse_model((directory.models / f"round-{number:03d}.safetensors").read_bytes())
