"""Public rendered images that every party can make for itself: to pretrain on, and as negatives."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from torch import Tensor

from fedchest.data.chexpert import read_chexpert
from fedchest.data.dataset import ChestDataset, load_dataset
from fedchest.data.labels import COMPETITION, DEFAULT_POLICIES
from fedchest.data.phantom.writer import write_phantom_cohort
from fedchest.federation.study import Study
from fedchest.learning.batches import network_input

SEED, SITES, MOST_STUDIES = 90_001, 3, 2
"""Another seed than any cohort's, and so other patients and other looks."""

NEGATIVES = 64
"""Patients whose images are the negatives of a public contrast."""


def phantoms(study: Study, patients: int) -> ChestDataset:
    """The images of that many public patients, at the study's size and with its labels."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        _write(root, patients, study.model.image_size)
        return load_dataset(
            read_chexpert(root, "train", views=study.views),
            size=study.model.image_size,
            cache_dir=root,
            label_names=study.labels,
            policies=study.uncertainty,
        )


def public_negatives(study: Study) -> Tensor:
    """Network input float32[M,1,H,W] of public images."""
    return _negatives(study.model.image_size, study.views)


@cache
def _negatives(size: int, views: Literal["frontal", "lateral", "all"]) -> Tensor:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        _write(root, NEGATIVES, size)
        data = load_dataset(
            read_chexpert(root, "train", views=views),
            size=size,
            cache_dir=root,
            label_names=COMPETITION,
            policies=DEFAULT_POLICIES,
        )
        return network_input(data.images[:])


def _write(root: Path, patients: int, size: int) -> None:
    write_phantom_cohort(
        root,
        patients=patients,
        validation_patients=0,
        size=size,
        seed=SEED,
        sites=SITES,
        masks=False,
        most_studies=MOST_STUDIES,
    )
