"""Small CheXpert trees for the data tests: real radiographs, a rendered cohort, and tables written by hand."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import FOLDER, MakeTree, Row

from fedchest.data.chexpert import COLUMNS
from fedchest.data.phantom.writer import write_phantom_cohort

NIH = Path(__file__).parent / "fixtures" / "nih"


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    """A tree of eleven real radiographs of eight patients that a test may change."""
    return Path(shutil.copytree(NIH, tmp_path / "nih"))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered cohort of 40 + 6 patients from 3 sites with masks; read only."""
    root = tmp_path_factory.mktemp("rendered")
    write_phantom_cohort(root, patients=40, validation_patients=6, size=64, seed=3, sites=3)
    return root


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """Write a tree whose train.csv has the given rows (cells that are left out are plausible) and grey images."""

    def make(rows: list[Row], *, columns: tuple[str, ...] = COLUMNS, name: str = FOLDER) -> Path:
        folder = tmp_path / name
        table = []
        for number, cells in enumerate(rows, start=1):
            path = f"{name}/train/patient{number:05d}/study1/view1_frontal.png"
            row = {
                "Path": path,
                "Sex": "Female",
                "Age": "60",
                "Frontal/Lateral": "Frontal",
                "AP/PA": "AP",
            } | cells
            table.append(row)
            file = tmp_path / row["Path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".png":
                Image.fromarray(np.full((8, 8), number % 256, dtype=np.uint8)).save(file)
        folder.mkdir(exist_ok=True)
        with (folder / "train.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(table)
        return tmp_path

    return make
