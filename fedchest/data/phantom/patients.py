"""Who the rendered patients are: their visits, the images of each visit, and what the reports say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedchest.data.chexpert import Split
from fedchest.data.cohort import FRONTAL_AP, FRONTAL_PA, LATERAL, Cohort
from fedchest.data.partition import SITES_FILE
from fedchest.data.phantom.look import draw_look
from fedchest.data.phantom.render import Shot
from fedchest.data.phantom.reports import report_model, statistics
from fedchest.data.phantom.streams import stream
from fedchest.files import write_atomically

_LATERAL_SHARE = {FRONTAL_AP: 0.05, FRONTAL_PA: 0.85}  # together CheXpert's 14.5 % of images

MOST_STUDIES = 15
"""Of a patient, as CheXpert's published counts go: their last class is 15 or more."""


@dataclass(frozen=True)
class PhantomImage:
    """One image before it is rendered: its path below the tree, what it shows, and its labels, int8[14]."""

    path: str
    shot: Shot
    labels: npt.NDArray[np.int8]


def images_of(
    number: int, split: Split, *, seed: int, sites: int, size: int, most_studies: int
) -> Iterator[PhantomImage]:
    """The images of patient `number` >= 1, in order; training patients have histories, others one study each."""
    look = draw_look(seed, site_of(number, sites))
    random = stream(seed, number, "history")
    male, age = _draw_person(random)
    count = min(_draw_study_count(random), most_studies) if split == "train" else 1
    frontal = [FRONTAL_AP if random.random() < look.ap_share else FRONTAL_PA for _ in range(count)]
    studies = (
        report_model().draw_history(random, frontal)
        if split == "train"
        else [report_model().draw_reading(random, frontal[0])]
    )
    for index, (view, study) in enumerate(zip(frontal, studies, strict=True), start=1):
        views = [view, LATERAL] if random.random() < _LATERAL_SHARE[view] else [view]
        for position, each in enumerate(views, start=1):
            name = f"view{position}_{'lateral' if each == LATERAL else 'frontal'}.png"
            shot = Shot(seed, number, index, each, male, age, look, size, study.findings)
            yield PhantomImage(f"{split}/{patient_name(number)}/study{index}/{name}", shot, study.labels)


def patient_name(number: int) -> str:
    """The folder name of patient `number`."""
    return f"patient{number:05d}"


def site_of(number: int, sites: int) -> int:
    """The site of patient `number`: patients are dealt in turn."""
    return (number - 1) % sites


def cohort_of(folder: Path, images: Sequence[PhantomImage]) -> Cohort:
    """The cohort of `images`, whose tree is `folder`."""
    return Cohort(
        root=folder,
        paths=tuple(image.path for image in images),
        patients=tuple(patient_name(image.shot.patient) for image in images),
        labels=np.stack([image.labels for image in images]),
        views=tuple(image.shot.view for image in images),
        sexes=tuple("Male" if image.shot.male else "Female" for image in images),
        ages=np.array([image.shot.age for image in images], dtype=np.int16),
    )


def write_sites(folder: Path, patients: int, sites: int) -> None:
    """Write the table of each patient's site beside train.csv."""
    rows = [f"{patient_name(number)},{site_of(number, sites)}\n" for number in range(1, patients + 1)]
    write_atomically(folder / SITES_FILE, "".join(["Patient,Site\n", *rows]).encode())


def _draw_person(random: np.random.Generator) -> tuple[bool, int]:
    known = statistics()
    sexes, decades = known["patients_by_sex"], np.array(known["images_by_age_decade"][1:], dtype=np.float64)
    male = bool(random.random() < sexes["Male"] / (sexes["Male"] + sexes["Female"]))
    decade = 1 + int(random.choice(len(decades), p=decades / decades.sum()))
    return male, min(90, max(18, 10 * decade + int(random.integers(10))))


def _draw_study_count(random: np.random.Generator) -> int:
    patients = np.array(statistics()["patients_by_studies"], dtype=np.float64)
    return 1 + int(random.choice(len(patients), p=patients / patients.sum()))
