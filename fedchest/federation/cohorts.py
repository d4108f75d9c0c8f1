"""Whose images a run uses: the hospitals' parts, each one's own validation patients, and the public set."""

from collections.abc import Sequence
from pathlib import Path

from fedchest.data.cache import cached_images
from fedchest.data.cohort import Cohort, distinct_patients
from fedchest.data.partition import partition_patients, patient_draw, unlabelled_patients
from fedchest.data.reader import has_split, read_cohort
from fedchest.federation.config import Settings
from fedchest.federation.directory import RunDirectory
from fedchest.federation.progress import ProgressLog


def divide(settings: Settings) -> tuple[Cohort, ...]:
    """The training patients, one part a hospital. Raises DataError and ConfigError."""
    cohort = read_cohort(settings.data.data, "train", views=settings.data.views)
    partition = settings.partition
    return partition_patients(
        cohort, partition.institutions, partition.partition, alpha=partition.alpha, seed=settings.run.seed
    )


def public_set(settings: Settings) -> Cohort | None:
    """The tree's validation split, on which the coordinator measures; None where the tree has none."""
    if not has_split(settings.data.data, "valid"):
        return None
    return read_cohort(settings.data.data, "valid", views=settings.data.views)


def split(settings: Settings, cohort: Cohort) -> tuple[Cohort, Cohort | None]:
    """(training, validation): each patient's side follows from that patient's name alone, so none moves another."""
    patients = distinct_patients(cohort)
    share, seed = settings.partition.local_validation, settings.run.seed
    kept = {patient for patient in patients if patient_draw(patient, "local validation", seed) < share}
    if not kept or len(kept) == len(patients):
        return cohort, None
    sides = ([p for p in patients if (p in kept) == is_kept] for is_kept in (False, True))
    training, validation = map(cohort.select_patients, sides)
    return training, validation


def unlabelled(settings: Settings, cohort: Cohort, institution: int) -> tuple[str, ...]:
    """The patients of an institution's cohort whose labels training may not see: all of the first few institutions."""
    none_labelled = institution < settings.partition.unlabelled_institutions
    share = 0.0 if none_labelled else settings.data.labelled_share
    return unlabelled_patients(cohort, share, settings.run.seed)


def decode_all(settings: Settings, directory: RunDirectory, cohorts: Sequence[Cohort]) -> None:
    """Decode every image now: one that can't be read stops the run here, by name, and not in a round."""
    log = ProgressLog(directory.coordinator)
    done, total = 0, sum(map(len, cohorts))
    for cohort in cohorts:
        cached_images(cohort, settings.data.image_size, cache_folder(settings, directory))
        done += len(cohort)
        log.report("decoded", done=done, total=total)


def cache_folder(settings: Settings, directory: RunDirectory) -> Path:
    """Where the run keeps decoded images."""
    return settings.data.cache or directory.cache
