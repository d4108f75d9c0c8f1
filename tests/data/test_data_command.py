"""`fedchest data` from the outside."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fedchest.cli.data import data
from fedchest.data.cache import cached_images
from fedchest.data.chexpert import read_chexpert
from fedchest.errors import DataError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments], catch_exceptions=False)


def test_make_writes_a_cohort_and_counts_it(tmp_path: Path) -> None:
    result = run("make", tmp_path, "--patients", 5, "--validation-patients", 2, "--size", 32, "--json")
    assert result.exit_code == 0
    cohorts = json.loads(result.stdout)["cohorts"]
    assert cohorts["train"]["patients"] == 5
    assert cohorts["valid"]["patients"] == 2
    assert len(read_chexpert(tmp_path, "train", views="all")) == cohorts["train"]["images"]


def test_inspect_counts_each_institution_and_draws_a_sheet(rendered: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    common = ("inspect", rendered, "--institutions", 3, "--partition", "site", "--sheet", sheet)
    cohorts = json.loads(run(*common, "--json").stdout)["cohorts"]
    train = read_chexpert(rendered, "train", views="all")
    assert list(cohorts) == ["institution-1", "institution-2", "institution-3"]
    assert sum(cohort["images"] for cohort in cohorts.values()) == len(train)
    for cohort in cohorts.values():
        assert all(sum(counts.values()) == cohort["images"] for counts in cohort["labels"].values())
    with Image.open(sheet) as image:
        assert image.size == (12 * 128, 3 * 128)
    table = run(*common).stdout
    assert "Pleural Effusion" in table
    assert "sheet.png" in table.replace("\n", "")


def test_partition_gives_each_institution_a_tree_of_its_own(rendered: Path, tmp_path: Path) -> None:
    result = run(
        "partition", rendered, tmp_path, "--institutions", 3, "--partition", "dirichlet", "--alpha", 1
    )
    assert result.exit_code == 0
    whole = read_chexpert(rendered, "train", views="all")
    shares = [read_chexpert(tmp_path / f"institution-{number}", "train", views="all") for number in (1, 2, 3)]
    assert sorted(path for share in shares for path in share.paths) == sorted(whole.paths)
    for share in shares:
        on_disk = {path.name for path in (share.root / "train").iterdir()}
        assert on_disk == set(share.patients)


def test_cache_announces_its_size_and_is_what_a_run_then_uses(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cache"
    result = run("cache", rendered, out, "--image-size", 32, "--views", "all", "--json")
    cohorts = [read_chexpert(rendered, split, views="all") for split in ("train", "valid")]
    images = sum(map(len, cohorts))
    written = sum(file.stat().st_size for file in out.iterdir())
    assert json.loads(result.stdout) == {"images": images, "bytes": written, "cache": str(out)}
    assert f"{images} images of 32 pixels take 0.00 GB in {out}." in result.stderr

    def fail(content: bytes, path: Path, size: int) -> None:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr("fedchest.data.cache.decode_content", fail)
    for cohort in cohorts:
        assert cached_images(cohort, 32, out).shape == (len(cohort), 32, 32)


def test_a_folder_without_a_tree_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no CheXpert tree"):
        run("inspect", tmp_path)
