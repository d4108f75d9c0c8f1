"""A tree with as many rows and patients as CheXpert's and one small picture, to measure what its size costs."""

from dataclasses import replace
from itertools import cycle
from pathlib import Path

from PIL import Image

from fedchest.data.chexpert import FOLDERS, write_table
from fedchest.data.cohort import LATERAL
from fedchest.data.phantom.patients import (
    MOST_STUDIES,
    PhantomImage,
    cohort_of,
    images_of,
    patient_name,
    write_sites,
)
from fedchest.data.phantom.render import render

PATIENTS, IMAGES = 64_540, 223_414
"""Of CheXpert's training table."""

_SIZE = 64


def write_full_size_tree(
    root: Path, *, patients: int = PATIENTS, images: int = IMAGES, sites: int = 5, seed: int = 0
) -> None:
    """Write <root>/CheXpert-v1.0-small with a train.csv and sites.csv of `patients` and `images` by the label model.

    No image is rendered but one, of 64 pixels: every patient's folder is a symbolic link to one folder of links to
    it. Patients have up to 15 studies, as in a rendered cohort; the longest histories then go on, alike, until there
    are as many images as asked for. Raises ValueError when the patients have more images without that.
    """
    folder = root / FOLDERS[0]
    drawn = [
        image
        for number in range(1, patients + 1)
        for image in images_of(number, "train", seed=seed, sites=sites, size=_SIZE, most_studies=MOST_STUDIES)
    ]
    listed = sorted(
        drawn + _later_studies(drawn, images - len(drawn)),
        key=lambda image: (image.shot.patient, image.shot.study, image.path),
    )
    (folder / "train").mkdir(parents=True)
    write_table(cohort_of(folder, listed), folder / "train.csv")
    write_sites(folder, patients, sites)
    _write_picture(folder, listed)


def _later_studies(drawn: list[PhantomImage], count: int) -> list[PhantomImage]:
    """`count` frontal images of further studies of those who have the longest histories, in turn."""
    if count < 0:
        raise ValueError(f"{len(drawn)} images were drawn, {-count} more than asked for.")
    most = max(image.shot.study for image in drawn)
    last = [image for image in drawn if image.shot.study == most and image.shot.view != LATERAL]
    later = []
    for number, image in zip(range(count), cycle(last), strict=False):
        study = most + 1 + number // len(last)
        path = f"train/{patient_name(image.shot.patient)}/study{study}/view1_frontal.png"
        later.append(replace(image, path=path, shot=replace(image.shot, study=study)))
    return later


def _write_picture(folder: Path, listed: list[PhantomImage]) -> None:
    picture = folder / "picture.png"
    Image.fromarray(render(listed[0].shot).pixels).save(picture)
    for below in {image.path.split("/", 2)[2] for image in listed}:
        link = folder / "every-patient" / below
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(picture.resolve())
    for patient in {image.shot.patient for image in listed}:
        (folder / "train" / patient_name(patient)).symlink_to("../every-patient")
