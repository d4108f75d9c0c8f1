"""A cohort of rendered patients as a CheXpert tree."""

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fedchest.data.chexpert import FOLDERS, Split, write_table
from fedchest.data.cohort import FRONTAL_AP, FRONTAL_PA, LATERAL, Cohort
from fedchest.data.labels import OBSERVATIONS
from fedchest.data.partition import SITES_FILE
from fedchest.data.phantom.look import draw_look
from fedchest.data.phantom.render import Rendering, Shot, render
from fedchest.data.phantom.reports import report_model, statistics
from fedchest.data.phantom.streams import stream
from fedchest.errors import ConfigError, DataError
from fedchest.files import write_atomically

SMALLEST = 32
RENDERED_FILE = "rendered.json"
"""In every rendered tree: what it was rendered from."""
_TOGETHER, _WORTH_PROCESSES = 20, 1000
"""Patients that one task renders; fewer in all than the second are rendered in this process."""
_LATERAL_SHARE = {FRONTAL_AP: 0.05, FRONTAL_PA: 0.85}  # together CheXpert's 14.5 % of images


@dataclass(frozen=True)
class _Image:
    path: str
    shot: Shot
    labels: npt.NDArray[np.int8]


def write_phantom_cohort(
    root: Path,
    *,
    patients: int,
    validation_patients: int,
    size: int,
    seed: int,
    sites: int,
    masks: bool = True,
    most_studies: int = 15,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write <root>/CheXpert-v1.0-small: train.csv, valid.csv, sites.csv and grey PNG images of `size` pixels.

    Training patients have as many studies as CheXpert's, but at most `most_studies`, and labels as its labeller
    gives them; validation patients have one study each, read without doubt. Patients are dealt to the sites in
    turn, and each site has its own look. With `masks`, beside each image lies a 16-bit PNG, read by `read_masks`.
    From 1,000 patients on, other processes help, so a script that calls this needs the usual guard of its main
    part. The same arguments give the same bytes. `progress` is called with (patients done, patients in all). Raises
    ConfigError for a setting out of range and DataError when the tree exists.

    Held by tests/data/test_writer.py::test_the_same_seed_gives_the_same_bytes.
    """
    if min(patients, sites, most_studies) < 1 or min(validation_patients, seed) < 0 or size < SMALLEST:
        raise ConfigError(
            f"A rendered cohort needs at least 1 patient, 1 site, 1 study, {SMALLEST} pixels and a seed from 0 on."
        )
    folder = root / FOLDERS[0]
    if folder.exists():
        raise DataError(f"{folder} exists already: remove it or choose another folder.")
    splits: tuple[tuple[Split, range], ...] = (
        ("train", range(1, patients + 1)),
        ("valid", range(patients + 1, patients + validation_patients + 1)),
    )
    for split, numbers in splits:
        write = partial(_write_patients, folder, split, seed, sites, size, most_studies, masks)
        images: list[_Image] = []
        for done, written in _in_parallel(write, numbers):
            images += written
            if progress is not None:
                progress(done, patients + validation_patients)
        if images:
            write_table(_cohort(folder, images), folder / f"{split}.csv")
    _write_sites(folder, patients + validation_patients, sites)
    settings = {"patients": patients, "validation_patients": validation_patients, "size": size, "seed": seed}
    about = {
        "content": "Rendered phantoms, no patient's data.",
        **settings,
        "sites": sites,
        "most_studies": most_studies,
    }
    write_atomically(folder / RENDERED_FILE, (json.dumps(about, indent=1) + "\n").encode())


def read_masks(image: Path) -> dict[str, npt.NDArray[np.bool_]]:
    """Where the findings of the rendered `image` are: bool[N, N] by observation, present ones only.

    Raises DataError when the masks were not written.
    """
    path = _mask_path(image)
    if not path.is_file():
        raise DataError(f"{path} does not exist: the cohort was rendered without masks.")
    with Image.open(path) as file:
        bits = np.asarray(file).astype(np.uint16)
    planes = {name: (bits >> number) & 1 == 1 for number, name in enumerate(OBSERVATIONS)}
    return {name: plane for name, plane in planes.items() if plane.any()}


def _in_parallel(
    write: Callable[[range], list[_Image]], numbers: range
) -> Iterator[tuple[int, list[_Image]]]:
    """(last number done, its images), some patients at a time, in order; on all cores where that is worth it."""
    parts = [numbers[start : start + _TOGETHER] for start in range(0, len(numbers), _TOGETHER)]
    lasts = [part[-1] for part in parts]
    if len(numbers) < _WORTH_PROCESSES:
        yield from zip(lasts, map(write, parts), strict=True)
        return
    # A fork of a process that has torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context, initializer=_ignore_interrupts) as pool:
        try:
            yield from zip(lasts, pool.map(write, parts), strict=True)
        except BrokenProcessPool:
            raise DataError(
                "A process that renders patients was killed, for lack of memory perhaps."
            ) from None


def _ignore_interrupts() -> None:
    """Ctrl-C reaches the whole group; the process that waits for the pool ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_patients(
    folder: Path,
    split: Split,
    seed: int,
    sites: int,
    size: int,
    most_studies: int,
    masks: bool,
    numbers: range,
) -> list[_Image]:
    images: list[_Image] = []
    for number in numbers:
        for image in _images_of(number, split, seed, sites, size, most_studies):
            _write_image(folder / image.path, render(image.shot), masks)
            images.append(image)
    return images


def _images_of(
    number: int, split: Split, seed: int, sites: int, size: int, most_studies: int
) -> Iterator[_Image]:
    look = draw_look(seed, (number - 1) % sites)
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
            yield _Image(f"{split}/patient{number:05d}/study{index}/{name}", shot, study.labels)


def _draw_person(random: np.random.Generator) -> tuple[bool, int]:
    known = statistics()
    sexes, decades = known["patients_by_sex"], np.array(known["images_by_age_decade"][1:], dtype=np.float64)
    male = bool(random.random() < sexes["Male"] / (sexes["Male"] + sexes["Female"]))
    decade = 1 + int(random.choice(len(decades), p=decades / decades.sum()))
    return male, min(90, max(18, 10 * decade + int(random.integers(10))))


def _draw_study_count(random: np.random.Generator) -> int:
    patients = np.array(statistics()["patients_by_studies"], dtype=np.float64)
    return 1 + int(random.choice(len(patients), p=patients / patients.sum()))


def _write_image(path: Path, rendering: Rendering, masks: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_png(rendering.pixels))
    if masks:
        bits = np.zeros(rendering.pixels.shape, dtype=np.uint16)
        for name, mask in rendering.masks().items():
            bits |= mask.astype(np.uint16) << OBSERVATIONS.index(name)
        _mask_path(path).write_bytes(_png(bits))


def _mask_path(image: Path) -> Path:
    return image.with_suffix(".masks.png")


def _png(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=4)
    return file.getvalue()


def _cohort(folder: Path, images: list[_Image]) -> Cohort:
    return Cohort(
        root=folder,
        paths=tuple(image.path for image in images),
        patients=tuple(f"patient{image.shot.patient:05d}" for image in images),
        labels=np.stack([image.labels for image in images]),
        views=tuple(image.shot.view for image in images),
        sexes=tuple("Male" if image.shot.male else "Female" for image in images),
        ages=np.array([image.shot.age for image in images], dtype=np.int16),
    )


def _write_sites(folder: Path, patients: int, sites: int) -> None:
    rows = [f"patient{number:05d},{(number - 1) % sites}\n" for number in range(1, patients + 1)]
    write_atomically(folder / SITES_FILE, "".join(["Patient,Site\n", *rows]).encode())
