"""Reading and writing the table of a CheXpert tree: train.csv or valid.csv beside the folders of images."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from fedchest.data.cohort import FRONTAL, FRONTAL_AP, FRONTAL_PA, LATERAL, Cohort
from fedchest.data.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN, UNKNOWN
from fedchest.errors import DataError
from fedchest.files import write_atomically

Split = Literal["train", "valid"]
Views = Literal["frontal", "lateral", "all"]

FOLDERS = ("CheXpert-v1.0-small", "CheXpert-v1.0")
"""The names of the tree as Stanford ships it; every path in its tables begins with one of them."""

ABOUT = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
COLUMNS = (*ABOUT, *OBSERVATIONS)

_LABELS = {
    "1.0": POSITIVE,
    "1": POSITIVE,
    "0.0": NEGATIVE,
    "0": NEGATIVE,
    "-1.0": UNCERTAIN,
    "-1": UNCERTAIN,
    "": BLANK,
}
_NO_LABELS = (UNKNOWN,) * len(OBSERVATIONS)
_LABEL_CELLS = {POSITIVE: "1.0", NEGATIVE: "0.0", UNCERTAIN: "-1.0", BLANK: ""}
_SEXES = ("Male", "Female", "Unknown")
_VIEWS = {
    ("Frontal", "AP"): FRONTAL_AP,
    ("Frontal", "PA"): FRONTAL_PA,
    ("Frontal", "LL"): FRONTAL,
    ("Frontal", "RL"): FRONTAL,
    ("Lateral", ""): LATERAL,
}
_VIEW_CELLS = {
    FRONTAL_AP: ("Frontal", "AP"),
    FRONTAL_PA: ("Frontal", "PA"),
    FRONTAL: ("Frontal", "LL"),
    LATERAL: ("Lateral", ""),
}
_PATIENT = re.compile(r"patient\d+")
_OLDEST = 150


@dataclass(frozen=True)
class _Row:
    path: str
    patient: str
    sex: str
    age: int
    view: str
    labels: tuple[int, ...]


def read_chexpert(root: Path, split: Split, *, views: Views = "frontal") -> Cohort:
    """The cohort of one split of the CheXpert tree at `root`, without decoding any image.

    `root` is the folder that holds train.csv, or the one above it that holds CheXpert-v1.0-small or
    CheXpert-v1.0. A table without any of the 14 observations is that of a hospital without labels: all are UNKNOWN.
    Raises DataError, naming file, line and column, for a missing table or column, an unknown
    label value, sex, age or view, a path outside the tree or without a file, a path listed twice, and when no
    image is left.
    """
    folder = chexpert_folder(root)
    table = folder / f"{split}.csv"
    rows = [
        row for row in _read_rows(table) if views == "all" or (row.view == LATERAL) == (views == "lateral")
    ]
    if not rows:
        raise DataError(f"{table} lists no {'images' if views == 'all' else f'{views} images'}.")
    twice, times = Counter(row.path for row in rows).most_common(1)[0]
    if times > 1:
        raise DataError(f"{table} lists {twice} {times} times.")
    for row in rows:
        if not (folder / row.path).is_file():
            raise DataError(f"{table} lists {row.path}, but {folder / row.path} does not exist.")
    return Cohort(
        root=folder,
        paths=tuple(row.path for row in rows),
        patients=tuple(row.patient for row in rows),
        labels=np.array([row.labels for row in rows], dtype=np.int8),
        views=tuple(row.view for row in rows),
        sexes=tuple(row.sex for row in rows),
        ages=np.array([row.age for row in rows], dtype=np.int16),
    )


def chexpert_folder(root: Path) -> Path:
    """The folder of the CheXpert tree at or directly below `root`. Raises DataError for none or two."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder.")
    found = [
        folder for folder in (root, *(root / name for name in FOLDERS)) if (folder / "train.csv").is_file()
    ]
    if not found:
        raise DataError(
            f"{root} holds no CheXpert tree: there is no train.csv in it or in {root / FOLDERS[0]}."
        )
    if len(found) > 1:
        raise DataError(f"{root} holds two CheXpert trees; name one of {' and '.join(map(str, found))}.")
    return found[0]


def write_table(cohort: Cohort, table: Path) -> None:
    """Write `cohort` as the CheXpert table `table`, which lies in the cohort's root or in a copy of it.

    The paths in it begin with CheXpert-v1.0-small, whatever the folder is called, as Stanford's do. A cohort without
    any label gets a table without the observations; raises DataError when only some labels are unknown.
    """
    unknown = cohort.labels == UNKNOWN
    labelled = not unknown.all()
    if labelled and unknown.any():
        raise DataError(
            f"{table} can't be written: CheXpert's table has no cell for a label that is unknown."
        )
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS if labelled else ABOUT)
    for row in range(len(cohort)):
        writer.writerow(
            (
                f"{FOLDERS[0]}/{cohort.paths[row]}",
                cohort.sexes[row],
                int(cohort.ages[row]),
                *_VIEW_CELLS[cohort.views[row]],
                *(_LABEL_CELLS[label] for label in cohort.labels[row].tolist() if labelled),
            )
        )
    write_atomically(table, text.getvalue().encode())


def _read_rows(table: Path) -> Iterator[_Row]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval=None, strict=True)
            labelled = any(name in OBSERVATIONS for name in reader.fieldnames or ())
            wanted = COLUMNS if labelled else ABOUT
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{table} has no column {missing[0]!r}.")
            for cells in reader:
                yield _parse_row(cells, f"{table}, line {reader.line_num}", labelled)
    except FileNotFoundError:
        raise DataError(f"{table} does not exist.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} can't be read as a CSV table: {error}.") from None


def _parse_row(cells: dict[str, str | None], where: str, labelled: bool) -> _Row:
    if None in cells.values() or None in cells:
        raise DataError(f"{where}: the row does not have as many cells as the header.")
    text = {name: value.strip() for name, value in cells.items() if value is not None}
    path, patient = _parse_path(text["Path"], where)
    if text["Sex"] not in _SEXES:
        raise DataError(f"{where}: Sex is {text['Sex']!r}, not one of {', '.join(_SEXES)}.")
    if not text["Age"].isdecimal() or int(text["Age"]) > _OLDEST:
        raise DataError(f"{where}: Age is {text['Age']!r}, not a number of years.")
    view = _VIEWS.get((text["Frontal/Lateral"], text["AP/PA"]))
    if view is None:
        raise DataError(
            f"{where}: Frontal/Lateral {text['Frontal/Lateral']!r} with AP/PA {text['AP/PA']!r} is no view."
        )
    labels = tuple(_parse_label(text[name], name, where) for name in OBSERVATIONS) if labelled else _NO_LABELS
    return _Row(path, patient, text["Sex"], int(text["Age"]), view, labels)


def _parse_path(text: str, where: str) -> tuple[str, str]:
    """The path below the tree's folder, and the patient's folder name in it."""
    parts = PurePosixPath(text).parts
    if len(parts) != 5 or parts[0] not in FOLDERS or ".." in parts or not _PATIENT.fullmatch(parts[2]):
        raise DataError(
            f"{where}: Path {text!r} is not like {FOLDERS[0]}/train/patient00001/study1/view1.jpg."
        )
    return "/".join(parts[1:]), parts[2]


def _parse_label(text: str, name: str, where: str) -> int:
    if text not in _LABELS:
        raise DataError(f"{where}: {name} is {text!r}, not 1.0, 0.0, -1.0 or empty.")
    return _LABELS[text]
