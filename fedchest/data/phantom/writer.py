"""A cohort of rendered patients as a CheXpert tree."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fedchest.data.chexpert import FOLDERS, Split, write_table
from fedchest.data.labels import OBSERVATIONS
from fedchest.data.parallel import worked_through
from fedchest.data.phantom.patients import MOST_STUDIES, PhantomImage, cohort_of, images_of, write_sites
from fedchest.data.phantom.render import Rendering, render
from fedchest.errors import ConfigError, DataError
from fedchest.files import write_atomically

SMALLEST = 32
RENDERED_FILE = "rendered.json"
"""In every rendered tree: what it was rendered from."""
_TOGETHER, _WORTH_PROCESSES = 20, 1000
"""Patients that one task renders; fewer in all than the second are rendered in this process."""


def write_phantom_cohort(
    root: Path,
    *,
    patients: int,
    validation_patients: int,
    size: int,
    seed: int,
    sites: int,
    masks: bool = True,
    most_studies: int = MOST_STUDIES,
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
        images: list[PhantomImage] = []
        for done, written in _rendered(write, numbers):
            images += written
            if progress is not None:
                progress(done, patients + validation_patients)
        if images:
            write_table(cohort_of(folder, images), folder / f"{split}.csv")
    write_sites(folder, patients + validation_patients, sites)
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


def _rendered(
    write: Callable[[range], list[PhantomImage]], numbers: range
) -> Iterator[tuple[int, list[PhantomImage]]]:
    """(last number done, its images), some patients at a time, in order; on all cores where that is worth it."""
    parts = [numbers[start : start + _TOGETHER] for start in range(0, len(numbers), _TOGETHER)]
    with worked_through(write, parts, in_processes=len(numbers) >= _WORTH_PROCESSES) as written:
        yield from zip((part[-1] for part in parts), written, strict=True)


def _write_patients(
    folder: Path,
    split: Split,
    seed: int,
    sites: int,
    size: int,
    most_studies: int,
    masks: bool,
    numbers: range,
) -> list[PhantomImage]:
    images: list[PhantomImage] = []
    for number in numbers:
        for image in images_of(number, split, seed=seed, sites=sites, size=size, most_studies=most_studies):
            _write_image(folder / image.path, render(image.shot), masks)
            images.append(image)
    return images


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
