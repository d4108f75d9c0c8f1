"""Making a run directory: divide the patients, give every party its folder, make the initial model."""

import hashlib
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedchest.data.cohort import Cohort, distinct_patients, refuse_shared_patients
from fedchest.data.phantom.writer import RENDERED_FILE
from fedchest.data.reader import cohort_folder
from fedchest.errors import ConfigError, KeyFileError
from fedchest.federation.cohorts import cache_folder, decode_all, divide, public_set, split, unlabelled
from fedchest.federation.config import Settings
from fedchest.federation.directory import (
    COORDINATOR,
    SEALING_KEY,
    SITE,
    STUDY,
    WALLET,
    CoordinatorDocument,
    RunDirectory,
    SiteDocument,
    write_document,
)
from fedchest.federation.initial import InitialModel, make_initial_model
from fedchest.federation.progress import ProgressLog
from fedchest.federation.provenance import write_provenance
from fedchest.federation.rules import refuse_inadmissible, refuse_untrainable, study_of
from fedchest.federation.study import Study, weight_class_of
from fedchest.files import write_atomically
from fedchest.ledger.wallet import Wallet
from fedchest.protection.keys import create_sealing_key, write_secret

EPSILON_FOLDER = ".fedchest-epsilon"
SIMULATION_SECRET = "simulation.secret"


@dataclass(frozen=True)
class SimulatedRandomness:
    """Where a hospital's noise comes from: an owner-only secret and a name no other run has, or the system (None)."""

    secret: Path | None
    run: str


@dataclass(frozen=True)
class PreparedRun:
    """A directory whose parties only need a chain: the rules, the first model, and each institution's public size."""

    directory: RunDirectory
    study: Study
    initial: InitialModel
    weight_classes: tuple[int, ...]


def prepare(settings: Settings, root: Path) -> PreparedRun:
    """Check everything that can be known before training and lay out the run below `root`; nothing stays of a failure.

    Raises ConfigError, DataError and StoreError.
    """
    root = root.absolute()
    if root.exists() and not root.is_dir():
        raise ConfigError(f"run.out = {root}: it is a file; a new or empty folder is needed.")
    if root.exists() and any(root.iterdir()):
        raise ConfigError(f"run.out = {root}: the folder exists and is not empty (--resume continues a run).")
    try:
        return _prepare(settings, RunDirectory(root))
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def _prepare(settings: Settings, directory: RunDirectory) -> PreparedRun:
    refuse_inadmissible(settings)
    cohorts = divide(settings)
    keys = [create_sealing_key(folder / SEALING_KEY) for folder in (directory.coordinator, directory.auditor)]
    study = study_of(settings, *keys)
    refuse_untrainable(study)
    parts = [split(settings, cohort) for cohort in cohorts]
    public = public_set(settings)
    if public is not None:
        for cohort in cohorts:
            refuse_shared_patients(cohort, public)
    decode_all(
        settings, directory, [cohort for pair in (*parts, (public,)) for cohort in pair if cohort is not None]
    )
    log = ProgressLog(directory.coordinator)
    initial = make_initial_model(
        settings.model,
        study,
        settings.run.seed,
        lambda step: log.report("pretrained", step=step, steps=settings.model.pretrain_steps),
    )
    directory.artifacts.put(initial.model)
    directory.artifacts.put(initial.provenance)
    _lay_out_coordinator(settings, directory, has_public_set=public is not None)
    randomness = _randomness(settings, directory)
    for index, (training, validation) in enumerate(parts):
        _lay_out_institution(settings, directory, index, training, validation, randomness)
    for folder in [directory.root, *directory.parties()]:
        write_atomically(folder / STUDY, study.to_bytes())
    write_document(directory.settings, settings)
    write_provenance(directory.provenance, seed=settings.run.seed)
    for folder in directory.parties():
        folder.chmod(0o700)
    unit = study.patients_per_weight_unit
    sizes = tuple(weight_class_of(len(distinct_patients(training)), unit) for training, _ in parts)
    return PreparedRun(directory, study, initial, sizes)


def _lay_out_coordinator(settings: Settings, directory: RunDirectory, *, has_public_set: bool) -> None:
    Wallet.create(directory.coordinator / WALLET)
    document = CoordinatorDocument(
        evaluation_data=settings.data.data if has_public_set else None,
        cache=cache_folder(settings, directory),
        artifacts=directory.artifacts.directory,
        reply_seconds=max(settings.chain.submission_seconds, settings.chain.attestation_seconds),
    )
    write_document(directory.coordinator / COORDINATOR, document)


def _lay_out_institution(
    settings: Settings,
    directory: RunDirectory,
    index: int,
    training: Cohort,
    validation: Cohort | None,
    randomness: SimulatedRandomness,
) -> None:
    folder = directory.institution(index)
    Wallet.create(folder / WALLET)
    document = SiteDocument(
        name=f"hospital {index + 1}",
        data=settings.data.data,
        patients=distinct_patients(training),
        unlabelled_patients=unlabelled(settings, training, index),
        teacher=settings.data.teacher,
        validation_patients=() if validation is None else distinct_patients(validation),
        cache=cache_folder(settings, directory),
        epsilon_ledger=_epsilon_folder(settings),
        epsilon_budget=settings.privacy.budget or settings.privacy.epsilon,
        open_if_silent=settings.protection.open_if_silent,
        artifacts=directory.artifacts.directory,
        randomness_secret=randomness.secret,
        randomness_label=f"{randomness.run}|institution {index}",
    )
    write_document(folder / SITE, document)


def _epsilon_folder(settings: Settings) -> Path:
    return settings.privacy.epsilon_ledger or cohort_folder(settings.data.data) / EPSILON_FOLDER


def _randomness(settings: Settings, directory: RunDirectory) -> SimulatedRandomness:
    """A secret that stays with the epsilon files, outside the run; from the seed only where that was asked for."""
    if settings.privacy.reproducible_noise:
        if not (cohort_folder(settings.data.data) / RENDERED_FILE).exists():
            raise ConfigError("privacy.reproducible_noise = True: allowed is it for rendered cohorts only.")
        secret = directory.root / SIMULATION_SECRET
        write_secret(secret, hashlib.sha256(f"fedchest seed {settings.run.seed}".encode()).digest())
        return SimulatedRandomness(secret, f"seed {settings.run.seed}")
    if settings.run.engine == "deployment":
        return SimulatedRandomness(None, "")
    secret = _epsilon_folder(settings) / SIMULATION_SECRET
    if not secret.exists():
        with suppress(KeyFileError):  # another first run on this folder was quicker: both use its secret
            write_secret(secret, secrets.token_bytes(32))
    return SimulatedRandomness(secret, secrets.token_hex(16))
