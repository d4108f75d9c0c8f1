"""`fedchest train` and `fedchest pretrain` as a user runs them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedchest.cli.main import main

pytestmark = pytest.mark.e2e

Fedchest = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fedchest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fedchest:
    """Run a command; returns its exit status and what it printed and complained of."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fedchest", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_status:
            main()
        status = exit_status.value.code
        return (status if isinstance(status, int) else 1), *capsys.readouterr()

    return run


@pytest.fixture
def places(cohort_folder: Path, image_cache: Path, tmp_path: Path) -> tuple[object, ...]:
    epsilon = ("--epsilon-ledger", tmp_path / "epsilon", "--delta", "1e-3", "--sampling-rate", 0.3)
    return ("--data", cohort_folder, "--cache", image_cache, "--image-size", 32, *epsilon, "--steps", 1)


def test_pretraining_then_private_training_from_its_weights(
    places: tuple[object, ...], tmp_path: Path, fedchest: Fedchest
) -> None:
    learner = ("--model", "semssl", "--encoder", "xception-nano", "--epsilon", 4)
    status, printed, faults = fedchest("pretrain", *learner, *places, "--out", tmp_path / "ssl")
    assert status == 0, faults
    assert "byol" in printed
    weights = tmp_path / "ssl" / "models" / "round-002.safetensors"
    run = tmp_path / "run"
    private = ("--weights", weights, "--fusion", "top-down", "--rounds", 1, "--budget", 13)
    status, printed, faults = fedchest("train", *places, *private, "--out", run, "--json")
    assert status == 0, faults
    results = json.loads(printed)
    assert results["dp"]
    assert 4 < results["epsilon"] <= 13, "the pretraining's epsilon is counted"
    assert [one["round"] for one in results["rounds"]] == [1]

    status, printed, _ = fedchest("train", "--resume", run, "--json")
    assert status == 0
    again = json.loads(printed)
    assert (again["rounds"], again["epsilon"]) == (results["rounds"], results["epsilon"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--model", "alexnet"), ("model.model", "alexnet", "semssl")),
        (("train", "--encoder", "xcepton41"), ("xcepton41", "xception41")),
        (("train", "--objective", "bce+swav"), ("swav", "byol")),
        (("train", "--objective", "byol"), ("augmentation", "byol")),
        (("train", "--head", "max"), ("model.head", "max", "evidence")),
        (("train", "--hierarchy"), ("hierarchy", "labels")),
        (("train", "--trainable", "adapters"), ("adapter_rank",)),
        (("train", "--trainable", "auto-rgn"), ("auto-rgn", "norms-and-head")),
        (("train", "--class-weights", "cohort"), ("cohort", "chexpert")),
        (("train", "--weights", "nowhere.pt"), ("nowhere.pt",)),
        (("train", "--learning-rate", "1e31"), ("training.learning_rate",)),
        (("pretrain",), ("training.pretraining", "byol")),
    ],
)
def test_faults_are_one_sentence_and_leave_nothing(
    arguments: tuple[object, ...],
    words: tuple[str, ...],
    places: tuple[object, ...],
    tmp_path: Path,
    fedchest: Fedchest,
) -> None:
    status, printed, faults = fedchest(*arguments, *places, "--out", tmp_path / "run")
    assert status == 2, printed
    for word in words:
        assert word in faults.replace("\n", " ")
    assert not (tmp_path / "run").exists()
