"""ChestX-ray14 as published, read under CheXpert's names."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fedchest.cli.data import data
from fedchest.data.cohort import distinct_patients
from fedchest.data.dataset import load_dataset
from fedchest.data.labels import DEFAULT_POLICIES, OBSERVATIONS, UNKNOWN, column_of
from fedchest.data.reader import cohort_folder, has_split, read_cohort
from fedchest.errors import DataError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = {
    "00000075_000.png": "Cardiomegaly|Effusion,0,75,61,F,PA",
    "00000075_001.png": "No Finding,1,75,061Y,F,AP",
    "00000100_000.png": "Infiltration|Hernia,0,100,414,M,PA",
    "00000129_000.png": "Nodule|Pneumothorax,0,129,30,M,AP",
}


@pytest.fixture
def chest_xray14(nih: Path, tmp_path: Path) -> Path:
    """The fixture's radiographs under the published names, in the published folders."""
    root = tmp_path / "ChestX-ray14"
    images = sorted(nih.rglob("*.png"))
    for number, name in enumerate(ROWS):
        folder = root / f"images_{number % 2 + 1:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(images[number], folder / name)
    lines = [f"{name},{rest},2682,2749,0.143,0.143" for name, rest in ROWS.items()]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    (root / "train_val_list.txt").write_text("00000075_000.png\n00000075_001.png\n00000100_000.png\n")
    (root / "test_list.txt").write_text("00000129_000.png\n")
    return root


def test_findings_become_chexperts_observations(chest_xray14: Path) -> None:
    train = read_cohort(chest_xray14, "train")
    assert distinct_patients(train) == ("patient00075", "patient00100")
    assert train.views == ("frontal-PA", "frontal-AP", "frontal-PA")
    assert train.sexes == ("Female", "Female", "Male")
    assert train.ages.tolist() == [61, 61, 150]
    positive = [{name for name in OBSERVATIONS if row[column_of(name)] == 1} for row in train.labels]
    assert positive == [{"Cardiomegaly", "Pleural Effusion"}, {"No Finding"}, {"Lung Opacity"}]
    unknown = {name for name in OBSERVATIONS if (train.labels[:, column_of(name)] == UNKNOWN).all()}
    assert unknown == {"Enlarged Cardiomediastinum", "Fracture", "Support Devices"}
    [test] = read_cohort(chest_xray14, "valid").labels
    assert {name for name in OBSERVATIONS if test[column_of(name)] == 1} == {
        "Lung Lesion",
        "Lung Opacity",
        "Pneumothorax",
    }


def test_what_was_not_labelled_is_masked(chest_xray14: Path, tmp_path: Path) -> None:
    loaded = load_dataset(
        read_cohort(chest_xray14, "train"),
        size=32,
        cache_dir=tmp_path,
        label_names=OBSERVATIONS,
        policies=DEFAULT_POLICIES,
    )
    unknown = [column_of(name) for name in ("Enlarged Cardiomediastinum", "Fracture", "Support Devices")]
    assert not loaded.mask[:, unknown].any()
    assert np.delete(loaded.mask, unknown, axis=1).all()


def test_the_published_split_is_found(chest_xray14: Path) -> None:
    assert has_split(chest_xray14, "valid")
    (chest_xray14 / "test_list.txt").unlink()
    assert not has_split(chest_xray14, "valid")
    assert cohort_folder(chest_xray14) == chest_xray14


def test_a_part_of_the_set_is_read(chest_xray14: Path) -> None:
    next(chest_xray14.rglob("00000100_000.png")).unlink()
    assert len(read_cohort(chest_xray14, "train")) == 2


def test_ages_in_months_and_days_are_years(chest_xray14: Path) -> None:
    table = chest_xray14 / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace(",061Y,", ",030M,").replace(",75,61,", ",75,020D,"))
    assert read_cohort(chest_xray14, "train").ages.tolist() == [0, 2, 150]


def test_two_files_of_one_name_are_refused(chest_xray14: Path) -> None:
    copy = chest_xray14 / "small" / "00000075_000.png"
    copy.parent.mkdir()
    shutil.copyfile(next(chest_xray14.rglob("00000075_000.png")), copy)
    with pytest.raises(DataError, match=r"00000075_000\.png is both in"):
        read_cohort(chest_xray14, "train")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("Finding Labels", "Findings", "has no column 'Finding Labels'"),
        ("Patient Gender", "Gender", "has no column 'Patient Sex'"),
        ("Cardiomegaly", "Cardiomegali", "line 2: Finding Labels has 'Cardiomegali'"),
        (",75,61,F,PA", ",x,61,F,PA", "line 2: Patient ID is 'x'"),
        (",75,61,F,PA", ",75,old,F,PA", "line 2: Patient Age is 'old'"),
        (",75,61,F,PA", ",75,61,X,PA", "line 2: Patient Gender is 'X'"),
        (",75,61,F,PA", ",75,61,F,LL", "line 2: View Position is 'LL'"),
        ("00000075_001.png", "00000075_000.png", "lists 00000075_000.png 2 times"),
    ],
)
def test_a_fault_in_the_table_is_named(chest_xray14: Path, old: str, new: str, sentence: str) -> None:
    table = chest_xray14 / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=sentence) as raised:
        read_cohort(chest_xray14, "train")
    assert str(table) in str(raised.value)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: (root / "train_val_list.txt").unlink(), r"train_val_list\.txt does not exist"),
        (lambda root: (root / "train_val_list.txt").write_bytes(b"\xff\xfe"), "can't be read as a list"),
        (lambda root: (root / "train_val_list.txt").write_text("other.png"), "has no image that"),
        (lambda root: (root / "Data_Entry_2017_v2020.csv").unlink(), "holds no CheXpert tree"),
    ],
)
def test_a_missing_part_is_named(chest_xray14: Path, spoil: Callable[[Path], object], sentence: str) -> None:
    spoil(chest_xray14)
    with pytest.raises(DataError, match=sentence):
        read_cohort(chest_xray14, "train")


def test_there_are_no_lateral_images(chest_xray14: Path) -> None:
    with pytest.raises(DataError, match="all of ChestX-ray14 is frontal"):
        read_cohort(chest_xray14, "train", views="lateral")


def test_inspect_says_what_was_not_labelled(chest_xray14: Path, tmp_path: Path) -> None:
    arguments = ["inspect", str(chest_xray14), "--institutions", "1", "--sheet", str(tmp_path / "sheet.png")]
    table = CliRunner().invoke(data, arguments, catch_exceptions=False).stdout
    [fracture] = [line for line in table.splitlines() if "Fracture" in line]
    assert "not labelled" in fracture
