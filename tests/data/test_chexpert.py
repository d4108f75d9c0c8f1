"""Reading CheXpert's layout: what is read, and the one sentence for each way it can be wrong."""

from pathlib import Path

import pytest
from trees import FOLDER, MakeTree

from fedchest.data.chexpert import COLUMNS, read_chexpert, write_table
from fedchest.data.cohort import distinct_patients, hide_labels
from fedchest.data.labels import DEFAULT_POLICIES, OBSERVATIONS, UNKNOWN, column_of, targets
from fedchest.errors import DataError


def test_real_radiographs_are_read_row_by_row(nih: Path) -> None:
    cohort = read_chexpert(nih, "train")
    assert len(cohort) == 11
    assert len(distinct_patients(cohort)) == 8
    assert cohort.patients[0] == "patient00075"
    assert cohort.views[0] == "frontal-PA"
    assert (cohort.sexes[0], int(cohort.ages[0])) == ("Female", 61)
    assert cohort.labels[0, column_of("Cardiomegaly")] == 1
    assert cohort.labels[0, column_of("Edema")] == 0
    assert cohort.labels[0, column_of("Fracture")] == -2
    assert all((cohort.root / path).is_file() for path in cohort.paths)


def test_the_tree_may_be_named_or_hold_the_csv_and_may_be_renamed(nih: Path) -> None:
    inner = read_chexpert(nih / FOLDER, "train")
    renamed = (nih / FOLDER).rename(nih / "xrays")
    assert read_chexpert(renamed, "train").paths == inner.paths


def test_the_full_size_root_works_too(make_tree: MakeTree) -> None:
    assert len(read_chexpert(make_tree([{}], name="CheXpert-v1.0"), "train")) == 1


def test_all_four_label_values(make_tree: MakeTree) -> None:
    root = make_tree([{"Edema": "1.0", "Fracture": "0.0", "Pneumonia": "-1.0"}])
    labels = dict(zip(OBSERVATIONS, read_chexpert(root, "train").labels[0].tolist(), strict=True))
    assert (labels["Edema"], labels["Fracture"], labels["Pneumonia"], labels["Atelectasis"]) == (1, 0, -1, -2)


def test_views_are_selected(make_tree: MakeTree) -> None:
    lateral = {"Frontal/Lateral": "Lateral", "AP/PA": ""}
    root = make_tree([{}, {"AP/PA": "PA"}, lateral, {"AP/PA": "LL"}])
    assert read_chexpert(root, "train").views == ("frontal-AP", "frontal-PA", "frontal")
    assert read_chexpert(root, "train", views="lateral").views == ("lateral",)
    assert len(read_chexpert(root, "train", views="all")) == 4


def test_a_written_table_reads_back_the_same(rendered: Path, tmp_path: Path) -> None:
    cohort = read_chexpert(rendered, "train", views="all")
    (tmp_path / "train").symlink_to(cohort.root / "train")
    write_table(cohort, tmp_path / "train.csv")
    again = read_chexpert(tmp_path, "train", views="all")
    assert again.paths == cohort.paths
    assert again.views == cohort.views
    assert again.sexes == cohort.sexes
    assert (again.labels == cohort.labels).all()
    assert (again.ages == cohort.ages).all()


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({"Edema": "2"}, r"train\.csv, line 2: Edema is '2', not 1\.0, 0\.0, -1\.0 or empty\."),
        ({"Edema": "nan"}, "Edema is 'nan'"),
        ({"Sex": "F"}, "line 2: Sex is 'F'"),
        ({"Age": "-4"}, "line 2: Age is '-4'"),
        ({"AP/PA": "XX"}, "AP/PA 'XX' is no view"),
        ({"Path": f"{FOLDER}/train/patient00001/study1/gone.jpg"}, r"gone\.jpg does not exist"),
        ({"Path": "elsewhere/train/patient00001/study1/view1.png"}, "Path 'elsewhere/"),
        ({"Path": f"{FOLDER}/../patient00001/study1/view1.png"}, r"Path '.*\.\./patient"),
        ({"Path": f"{FOLDER}/train/somebody/study1/view1.png"}, "Path '.*somebody"),
    ],
)
def test_a_bad_cell_is_named(make_tree: MakeTree, cells: dict[str, str], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_chexpert(make_tree([cells]), "train")


def test_a_missing_column_is_named(make_tree: MakeTree) -> None:
    columns = tuple(name for name in COLUMNS if name != "Pleural Other")
    with pytest.raises(DataError, match=r"train\.csv has no column 'Pleural Other'\."):
        read_chexpert(make_tree([{}], columns=columns), "train")


def test_a_hospital_without_labels_knows_none(make_tree: MakeTree, tmp_path: Path) -> None:
    columns = COLUMNS[: -len(OBSERVATIONS)]
    cohort = read_chexpert(make_tree([{}, {"Sex": "Male", "Age": "71"}], columns=columns), "train")
    assert (cohort.labels == UNKNOWN).all()
    assert cohort.labels.shape == (2, 14)
    assert (cohort.sexes[1], cohort.ages[1], cohort.views[1]) == ("Male", 71, "frontal-AP")
    values, mask, _ = targets(cohort.labels, OBSERVATIONS, DEFAULT_POLICIES)
    assert not mask.any()
    assert not values.any()
    write_table(cohort, cohort.root / "train.csv")
    again = read_chexpert(cohort.root, "train")
    assert (again.labels == UNKNOWN).all()
    assert again.paths == cohort.paths


def test_a_table_has_no_cell_for_some_unknown_labels(rendered: Path, tmp_path: Path) -> None:
    cohort = read_chexpert(rendered, "train")
    partly = hide_labels(cohort, cohort.patients[:1])
    with pytest.raises(DataError, match="no cell for a label that is unknown"):
        write_table(partly, tmp_path / "train.csv")


@pytest.mark.parametrize("present", [OBSERVATIONS[:1], OBSERVATIONS[3:9]])
def test_some_but_not_all_label_columns_are_an_error(make_tree: MakeTree, present: tuple[str, ...]) -> None:
    absent = next(name for name in OBSERVATIONS if name not in present)
    columns = (*COLUMNS[: -len(OBSERVATIONS)], *present)
    with pytest.raises(DataError, match=rf"has no column '{absent}'\."):
        read_chexpert(make_tree([{}], columns=columns), "train")


def test_a_path_listed_twice_is_named(make_tree: MakeTree) -> None:
    path = f"{FOLDER}/train/patient00001/study1/view1_frontal.png"
    with pytest.raises(DataError, match=r"view1_frontal\.png 2 times"):
        read_chexpert(make_tree([{"Path": path}, {"Path": path}]), "train")


def test_a_tree_without_images_or_table_is_named(make_tree: MakeTree, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        read_chexpert(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match="holds no CheXpert tree"):
        read_chexpert(tmp_path, "train")
    root = make_tree([])
    with pytest.raises(DataError, match=r"train\.csv lists no images"):
        read_chexpert(root, "train", views="all")
    with pytest.raises(DataError, match=r"valid\.csv does not exist"):
        read_chexpert(root, "valid")


def test_no_image_of_the_wanted_view(make_tree: MakeTree) -> None:
    with pytest.raises(DataError, match="lists no lateral images"):
        read_chexpert(make_tree([{}]), "train", views="lateral")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"Path,Sex\n\x00"])
def test_a_table_that_is_not_text_or_lacks_columns_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"train\.csv"):
        read_chexpert(tmp_path, "train")


def test_a_short_row_is_named(make_tree: MakeTree) -> None:
    root = make_tree([{}])
    table = root / FOLDER / "train.csv"
    table.write_text(table.read_text() + f"{FOLDER}/train/patient00002/study1/view1.png,Male\n")
    with pytest.raises(DataError, match="line 3: the row does not have as many cells"):
        read_chexpert(root, "train")
