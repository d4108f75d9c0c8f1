"""Training on one cohort without a federation: the same stages, private steps and budget, and no chain."""

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.data.notices import notices
from fedchest.data.reader import has_split
from fedchest.errors import StoreError
from fedchest.federation.config import Settings
from fedchest.federation.directory import (
    CONNECTION,
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
from fedchest.federation.rules import refuse_using_validation
from fedchest.federation.run_model import Calibration, load_run_model
from fedchest.federation.study import Study, weight_class_of
from fedchest.federation.trainer import LocalTrainer
from fedchest.files import write_atomically
from fedchest.models.chest import build_model
from fedchest.models.parameters import Arrays

Announce = Callable[[str], None]

PATIENCE = 2
"""Rounds without a gain after which the stopping rule `validation` ends a training."""


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
    stopped: bool
    rounds: list[CentralRound]

    @property
    def complete(self) -> bool:
        """Whether every round was trained, or the stopping rule ended them."""
        return self.stopped or len(self.rounds) == self.planned_rounds


def train_centrally(settings: Settings, root: Path, announce: Announce) -> CentralResults:
    """Train on the training split, below `root`; `announce` is told each stage. Raises FedChestError."""
    if not has_split(settings.data.data, "valid"):
        refuse_using_validation(settings, "without a validation split in the data")
    announce("Preparing: reading and decoding the data, making the initial model")
    alone = settings.partition.model_copy(update={"institutions": 1, "local_validation": 0.0})
    prepared = prepare(settings.model_copy(update={"partition": alone}), root)
    _write_model(prepared.directory, 0, prepared.initial.model)
    return resume_centrally(root, announce)


def resume_centrally(root: Path, announce: Announce) -> CentralResults:
    """Go on with the training below `root` from its last finished round. Raises FedChestError."""
    directory = RunDirectory(root)
    settings = read_document(directory.settings, Settings)
    if (directory.coordinator / CONNECTION).exists():
        raise StoreError(
            f"{root} is not a central training: fedchest simulate --resume goes on with a federation."
        )
    if not directory.models.is_dir():
        raise StoreError(f"{root} was interrupted before its first round: start a new run.")
    study, folder = read_study(directory.study), directory.institution(0)
    site = read_document(folder / SITE, SiteDocument)
    trainer = LocalTrainer(site, study, folder)
    for notice in notices(trainer.training_set()):
        announce(f"Note: {notice}")
    announce(f"Training {settings.model.model} on {len(site.patients)} patients")
    _train_rounds(directory, settings, study, site, trainer)
    results = _collect(directory, settings, study, trainer)
    if results.complete and settings.training.calibration == "temperature":
        _calibrate(directory)
    write_atomically(directory.results, (results.model_dump_json(indent=1) + "\n").encode())
    return results


def _train_rounds(
    directory: RunDirectory, settings: Settings, study: Study, site: SiteDocument, trainer: LocalTrainer
) -> None:
    """Train, store and measure every round that is not there yet and still to be trained."""
    evaluation, log = PublicEvaluation.open(directory.coordinator), ProgressLog(directory.coordinator)
    weight_class = weight_class_of(len(site.patients), study.patients_per_weight_unit)
    done = len(list(directory.models.glob("round-*.safetensors"))) - 1
    trainer.refuse_beyond(site.epsilon_budget, weight_class, study.rounds - done)
    model = _model(directory, done)
    figures = evaluation.note(finalized_rounds=done, model=model_bytes(model), seconds=0.0)
    if figures.mean_auroc is None:
        refuse_using_validation(settings, "where no label of the validation split has both answers")
    for number in range(done + 1, study.rounds + 1):
        if _has_stopped(settings, study, directory):
            break
        start = time.monotonic()
        model = trainer.train_alone(model, weight_class, number - 1, budget=site.epsilon_budget)
        _write_model(directory, number, model_bytes(model))
        seconds = time.monotonic() - start
        figures = evaluation.note(finalized_rounds=number, model=model_bytes(model), seconds=seconds)
        log.report("measured", finalized_rounds=number, mean_auroc=figures.mean_auroc)


def _has_stopped(settings: Settings, study: Study, directory: RunDirectory) -> bool:
    """Whether by the rule `validation` the last stage's last PATIENCE rounds gained nothing over those before."""
    if settings.training.stopping != "validation":
        return False
    notes = sorted(read_json(directory.coordinator / ROUNDS), key=lambda note: note["finalized_rounds"])
    before = study.rounds - study.stages[-1].rounds
    measured = [note["mean_auroc"] for note in notes if note["finalized_rounds"] >= before]
    if len(measured) <= PATIENCE or None in measured:
        return False
    return bool(max(measured[-PATIENCE:]) <= max(measured[:-PATIENCE]))


def _calibrate(directory: RunDirectory) -> None:
    """Write the last model's temperatures, where there is a validation split."""
    last = load_run_model(directory)
    temperatures = PublicEvaluation.open(directory.coordinator).temperatures(last.model)
    if temperatures is not None:
        calibration = Calibration(model_sha256=last.sha256, temperatures=temperatures)
        write_atomically(directory.calibration, calibration.model_dump_json(indent=1).encode())


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
        stopped=_has_stopped(settings, study, directory),
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
