"""`fedchest train` and `fedchest pretrain` as a user runs them."""

import json
import subprocess
from pathlib import Path

import pytest

from fedchest.federation.engines.processes import script

pytestmark = pytest.mark.e2e


def fedchest(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [script("fedchest"), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def places(cohort_folder: Path, image_cache: Path, tmp_path: Path) -> tuple[object, ...]:
    epsilon = ("--epsilon-ledger", tmp_path / "epsilon", "--delta", "1e-3", "--sampling-rate", 0.3)
    return ("--data", cohort_folder, "--cache", image_cache, "--image-size", 32, *epsilon, "--steps", 1)


def test_pretraining_then_private_training_from_its_weights(
    places: tuple[object, ...], tmp_path: Path
) -> None:
    encoder = ("--encoder", "xception-nano")
    pretrained = fedchest(
        "pretrain", "--model", "semssl", *encoder, *places, "--no-dp", "--batch", 4, "--out", tmp_path / "ssl"
    )
    assert pretrained.returncode == 0, pretrained.stderr
    assert "byol" in pretrained.stdout
    weights = tmp_path / "ssl" / "models" / "round-002.safetensors"
    run = tmp_path / "run"
    done = fedchest(
        "train", *places, "--weights", weights, "--fusion", "top-down", "--rounds", 1, "--out", run, "--json"
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["dp"]
    assert 0 < results["epsilon"] <= 8
    assert [one["round"] for one in results["rounds"]] == [1]

    again = fedchest("train", "--resume", run, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["rounds"] == results["rounds"]
    assert json.loads(again.stdout)["epsilon"] == results["epsilon"]


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
        (("train", "--learning-rate", "1e30"), ("training.learning_rate",)),
        (("pretrain",), ("training.pretraining", "byol")),
    ],
)
def test_faults_are_one_sentence_and_leave_nothing(
    arguments: tuple[object, ...], words: tuple[str, ...], places: tuple[object, ...], tmp_path: Path
) -> None:
    done = fedchest(*arguments, *places, "--out", tmp_path / "run")
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.replace("\n", " ")
    assert not (tmp_path / "run").exists()
