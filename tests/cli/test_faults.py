"""Foreseeable faults: one sentence that names the file or setting, exit status 2, before any training."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fedchest.cli.main import main
from fedchest.data.phantom.writer import write_phantom_cohort

Fedchest = Callable[..., str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tiny rendered tree that a test may damage."""
    write_phantom_cohort(
        tmp_path / "data", patients=12, validation_patients=2, size=32, seed=3, sites=1, masks=False
    )
    return tmp_path / "data" / "CheXpert-v1.0-small"


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fedchest:
    """Run the command, require exit status 2 and no trace of a started run, and return its one sentence."""

    def run(*arguments: object) -> str:
        out = tmp_path / "run"
        monkeypatch.setattr("sys.argv", ["fedchest", "simulate", "--out", str(out), *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_status:
            main()
        assert exit_status.value.code == 2
        error = capsys.readouterr().err.strip()
        assert "Traceback" not in error
        assert not list(out.glob("institutions/*"))
        return error

    return run


def some_image(tree: Path) -> Path:
    return next(tree.glob("train/**/*frontal*.png"), None) or next(tree.glob("train/**/*frontal*.jpg"))


def test_a_missing_column(tree: Path, refused: Fedchest) -> None:
    table = tree / "train.csv"
    lines = [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines))
    error = refused("--data", tree)
    assert "train.csv" in error
    assert "Support Devices" in error


def test_an_unknown_label_value(tree: Path, refused: Fedchest) -> None:
    table = tree / "train.csv"
    head, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([head, first.rsplit(",", 1)[0] + ",7.0", *rest]))
    error = refused("--data", tree)
    assert "train.csv" in error
    assert "7.0" in error
    assert "Support Devices" in error


def test_a_path_that_does_not_exist(tree: Path, refused: Fedchest) -> None:
    image = some_image(tree)
    image.unlink()
    assert image.name in refused("--data", tree)


def test_a_folder_that_does_not_exist(tmp_path: Path, refused: Fedchest) -> None:
    assert "nowhere" in refused("--data", tmp_path / "nowhere")


def test_a_folder_without_images(tmp_path: Path, refused: Fedchest) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("--data", tmp_path / "empty")


def test_a_truncated_image(tree: Path, refused: Fedchest) -> None:
    image = some_image(tree)
    image.write_bytes(image.read_bytes()[:-40])
    error = refused("--data", tree, "--institutions", 2)
    assert str(image.relative_to(tree)) in error


def test_an_image_of_the_wrong_mode(tree: Path, refused: Fedchest) -> None:
    image = some_image(tree)
    Image.new("RGB", (32, 32), (200, 30, 30)).save(image)
    assert str(image.relative_to(tree)) in refused("--data", tree, "--institutions", 2)


def test_a_chain_that_does_not_answer(tree: Path, refused: Fedchest) -> None:
    assert "http://127.0.0.1:1" in refused("--data", tree, "--rpc", "http://127.0.0.1:1")


def test_a_busy_port(tree: Path, refused: Fedchest) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(port) in refused("--data", tree, "--chain-port", port)


def test_a_run_folder_that_is_in_use(tree: Path, tmp_path: Path, refused: Fedchest) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert str(tmp_path / "run") in refused("--data", tree)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--epsilon", "-3"), ("privacy.epsilon", "-3", "greater than 0")),
        (("--partition", "random"), ("partition.partition", "random", "dirichlet")),
        (("--rounds", "many"), ("training.rounds", "many", "integer")),
        (("--encoder", "resnet9000"), ("resnet9000",)),
        (("--objective", "nt-xent"), ("nt-xent", "byol")),
        (("--uncertainty", "Edema=maybe"), ("Edema", "maybe", "u-ones")),
        (("--uncertainty", "Edema"), ("Edema", "LABEL=")),
        (("--institutions", "500"), ("500", "12")),
    ],
)
def test_a_bad_setting_is_named_with_its_value_and_what_is_allowed(
    tree: Path, refused: Fedchest, arguments: tuple[str, ...], named: tuple[str, ...]
) -> None:
    error = refused("--data", tree, *arguments)
    assert all(part in error for part in named), error


def test_an_unknown_setting_in_a_file(tree: Path, tmp_path: Path, refused: Fedchest) -> None:
    (tmp_path / "run.toml").write_text("[training]\nepochs = 3\n")
    assert "training.epochs" in refused("--data", tree, "--config", tmp_path / "run.toml")


def test_a_file_that_is_no_toml(tree: Path, tmp_path: Path, refused: Fedchest) -> None:
    (tmp_path / "run.toml").write_text("rounds: 3")
    assert "run.toml" in refused("--data", tree, "--config", tmp_path / "run.toml")


def test_no_data_folder(refused: Fedchest) -> None:
    assert "--data" in refused()
