"""Reading NIH ChestX-ray14 as it is published, under CheXpert's names (Wang et al. 2017).

Its labels were mined from reports and have low visual predictive value (Oakden-Rayner 2020): use them for
ratios between methods on the same split.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fedchest.data.chexpert import Split, Views
from fedchest.data.cohort import FRONTAL_AP, FRONTAL_PA, Cohort
from fedchest.data.labels import NEGATIVE, OBSERVATIONS, POSITIVE, UNKNOWN
from fedchest.errors import DataError

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS: Mapping[Split, str] = MappingProxyType({"train": "train_val_list.txt", "valid": "test_list.txt"})
"""The published split; no patient is on both sides of it."""

FINDINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "No Finding": ("No Finding",),
        "Atelectasis": ("Atelectasis", "Lung Opacity"),
        "Cardiomegaly": ("Cardiomegaly",),
        "Consolidation": ("Consolidation", "Lung Opacity"),
        "Edema": ("Edema", "Lung Opacity"),
        "Effusion": ("Pleural Effusion",),
        "Infiltration": ("Lung Opacity",),
        "Mass": ("Lung Lesion", "Lung Opacity"),
        "Nodule": ("Lung Lesion", "Lung Opacity"),
        "Pleural_Thickening": ("Pleural Other",),
        "Pneumonia": ("Pneumonia", "Lung Opacity"),
        "Pneumothorax": ("Pneumothorax",),
        "Emphysema": (),
        "Fibrosis": (),
        "Hernia": (),
    }
)
"""CheXpert's observations that a finding affirms; lung opacity has its kinds below it (Irvin et al. 2019, figure 1)."""

_KNOWN = frozenset(name for names in FINDINGS.values() for name in names)
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")
_SEX_COLUMNS = ("Patient Sex", "Patient Gender")
_SEXES = {"M": "Male", "F": "Female"}
_VIEWS = {"PA": FRONTAL_PA, "AP": FRONTAL_AP}
_AGE = re.compile(r"(\d+)([YMD]?)")
_UNITS_A_YEAR = {"": 1, "Y": 1, "M": 12, "D": 365}
_OLDEST = 150


def nih_table(root: Path) -> Path | None:
    """The table of the ChestX-ray14 folder `root`, or None when it is no such folder."""
    return next((root / name for name in TABLES if (root / name).is_file()), None)


def read_nih(root: Path, split: Split, *, views: Views = "frontal") -> Cohort:
    """The cohort of one side of the published split, without decoding any image; all of its images are frontal.

    `root` holds the table, the split's lists and the images in any folders below. Observations that NIH did not
    label are UNKNOWN in every row. A listed image without a file is passed over, since the set is often used in
    parts. Raises DataError, naming file and line, for a missing table, list or column, an unknown finding, sex, age
    or view, an image that is listed or lies there twice, and when no image is left.
    """
    table = nih_table(root)
    if table is None:
        raise DataError(f"{root} holds no ChestX-ray14: there is no {TABLES[0]} in it.")
    if views == "lateral":
        raise DataError(f"{table} lists no lateral images: all of ChestX-ray14 is frontal.")
    listed = _listed(root / LISTS[split])
    files = _files(root)
    rows = [row for row in _rows(table) if row[0] in listed and row[0] in files]
    if not rows:
        raise DataError(f"{root} has no image that {LISTS[split]} lists.")
    names, patients, labels, views_of, sexes, ages = zip(*rows, strict=True)
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise DataError(f"{table} lists {name} {times} times.")
    return Cohort(
        root=root,
        paths=tuple(str(files[name].relative_to(root)) for name in names),
        patients=patients,
        labels=np.array(labels, dtype=np.int8),
        views=views_of,
        sexes=sexes,
        ages=np.array(ages, dtype=np.int16),
    )


def _files(root: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(root.rglob("*.png")):
        if path.name in files:
            raise DataError(f"{path.name} is both in {files[path.name].parent} and in {path.parent}.")
        files[path.name] = path
    return files


def _listed(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: it lists the images of this side of the split.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as a list of images: {error}.") from None


def _rows(table: Path) -> Iterator[tuple[str, str, list[int], str, str, int]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or ()
            missing = [name for name in _COLUMNS if name not in names]
            sex = next((name for name in _SEX_COLUMNS if name in names), None)
            if missing or sex is None:
                raise DataError(f"{table} has no column {(missing or [_SEX_COLUMNS[0]])[0]!r}.")
            for cells in reader:
                yield _parse(cells, sex, f"{table}, line {reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} can't be read as a CSV table: {error}.") from None


def _parse(
    cells: Mapping[str, str | None], sex_column: str, where: str
) -> tuple[str, str, list[int], str, str, int]:
    text = {name: (cells[name] or "").strip() for name in (*_COLUMNS, sex_column)}
    age = _AGE.fullmatch(text["Patient Age"])
    if not text["Patient ID"].isdecimal():
        raise DataError(f"{where}: Patient ID is {text['Patient ID']!r}, not a number.")
    if text[sex_column] not in _SEXES:
        raise DataError(f"{where}: {sex_column} is {text[sex_column]!r}, not M or F.")
    if text["View Position"] not in _VIEWS:
        raise DataError(f"{where}: View Position is {text['View Position']!r}, not PA or AP.")
    if age is None:
        raise DataError(f"{where}: Patient Age is {text['Patient Age']!r}, not a number of years.")
    return (
        text["Image Index"],
        f"patient{int(text['Patient ID']):05d}",
        _labels(text["Finding Labels"], where),
        _VIEWS[text["View Position"]],
        _SEXES[text[sex_column]],
        min(int(age[1]) // _UNITS_A_YEAR[age[2]], _OLDEST),  # a few published ages are above 400
    )


def _labels(findings: str, where: str) -> list[int]:
    affirmed: set[str] = set()
    for finding in findings.split("|"):
        if finding not in FINDINGS:
            raise DataError(f"{where}: Finding Labels has {finding!r}, not one of {', '.join(FINDINGS)}.")
        affirmed.update(FINDINGS[finding])
    return [
        UNKNOWN if name not in _KNOWN else POSITIVE if name in affirmed else NEGATIVE for name in OBSERVATIONS
    ]
