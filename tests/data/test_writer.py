"""A rendered cohort is a CheXpert tree, the same every time, with masks beside the images."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedchest.data.chexpert import read_chexpert
from fedchest.data.cohort import refuse_shared_patients
from fedchest.data.images import decode
from fedchest.data.labels import BLANK, OBSERVATIONS, UNCERTAIN
from fedchest.data.phantom import writer
from fedchest.data.phantom.writer import read_masks, write_phantom_cohort
from fedchest.errors import ConfigError, DataError

SMALL = {"patients": 6, "validation_patients": 2, "size": 32, "sites": 2}


def digest(root: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        total.update(str(path.relative_to(root)).encode() + (path.read_bytes() if path.is_file() else b""))
    return total.hexdigest()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_phantom_cohort(tmp_path / name, seed=seed, **SMALL)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_another_process_with_other_threads_and_hashes_writes_the_same(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "here", seed=5, **SMALL)
    code = (
        "from pathlib import Path; from fedchest.data.phantom.writer import write_phantom_cohort;"
        f"write_phantom_cohort(Path({str(tmp_path / 'there')!r}), seed=5, **{SMALL!r})"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert digest(tmp_path / "here") == digest(tmp_path / "there")


def test_many_processes_write_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_phantom_cohort(tmp_path / "one", seed=5, **SMALL)
    monkeypatch.setattr(writer, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr(writer, "_TOGETHER", 2)
    seen: list[int] = []
    write_phantom_cohort(tmp_path / "many", seed=5, progress=lambda done, _: seen.append(done), **SMALL)
    assert digest(tmp_path / "one") == digest(tmp_path / "many")
    assert seen == [2, 4, 6, 8]


def test_it_reads_as_chexpert(rendered: Path) -> None:
    train = read_chexpert(rendered, "train", views="all")
    valid = read_chexpert(rendered, "valid", views="all")
    refuse_shared_patients(train, valid)
    assert len(set(train.patients)) == 40
    assert len(set(valid.patients)) == 6
    assert len(train) > 60
    assert {"frontal-AP", "frontal-PA", "lateral"} == set(train.views)
    assert train.paths[0] == "train/patient00001/study1/view1_frontal.png"
    assert np.isin(valid.labels, [0, 1]).all()
    assert (train.labels == UNCERTAIN).any()
    assert (train.labels == BLANK).any()
    assert decode(train.root / train.paths[0], 64).std() > 20


def test_labels_are_constant_within_a_study(rendered: Path) -> None:
    train = read_chexpert(rendered, "train", views="all")
    studies: dict[str, bytes] = {}
    for path, labels in zip(train.paths, train.labels, strict=True):
        assert studies.setdefault(str(Path(path).parent), labels.tobytes()) == labels.tobytes()
    assert len(studies) < len(train)


def test_masks_lie_beside_images_and_agree_with_labels(rendered: Path) -> None:
    valid = read_chexpert(rendered, "valid", views="all")
    masked = 0
    for path, labels in zip(valid.paths, valid.labels, strict=True):
        masks = read_masks(valid.root / path)
        affirmed = {name for name, label in zip(OBSERVATIONS, labels, strict=True) if label == 1}
        assert affirmed - {"No Finding"} <= set(masks)
        assert all(mask.shape == (64, 64) for mask in masks.values())
        masked += bool(masks)
    assert masked


def test_without_masks_there_are_none(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path, seed=1, masks=False, **SMALL)
    train = read_chexpert(tmp_path, "train")
    assert not list(tmp_path.rglob("*.masks.png"))
    with pytest.raises(DataError, match="rendered without masks"):
        read_masks(train.root / train.paths[0])


def test_it_says_that_it_is_rendered(rendered: Path) -> None:
    about = json.loads((rendered / "CheXpert-v1.0-small" / "rendered.json").read_text())
    assert "no patient's data" in about["content"]
    assert (about["patients"], about["seed"], about["sites"]) == (40, 3, 3)


def test_an_existing_tree_is_never_written_over(rendered: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        write_phantom_cohort(rendered, seed=1, **SMALL)


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"sites": 0}, {"size": 8}, {"seed": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1 patient"):
        write_phantom_cohort(tmp_path, **({"seed": 1} | SMALL | wrong))
    assert not list(tmp_path.iterdir())
