"""A run's model on labelled images and on single ones, as a user asks for it."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from fedchest.data.chexpert import read_chexpert
from fedchest.data.dataset import load_dataset
from fedchest.federation.directory import RunDirectory
from fedchest.federation.engines.processes import script
from fedchest.federation.run_model import load_run_model
from fedchest.learning.batches import network_input
from fedchest.learning.evaluate import predict
from fedchest.reporting.heatmaps import Explanation, explain, heatmaps

pytestmark = pytest.mark.e2e

PNG = b"\x89PNG"


def fedchest(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [script("fedchest"), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def run(cohort_folder: Path, image_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluated")
    small = ("--image-size", 32, "--rounds", 1, "--steps", 1, "--institutions", 2, "--no-dp", "--batch", 4)
    places = ("--out", root / "run", "--cache", image_cache)
    assert fedchest("simulate", "--data", cohort_folder, *small, *places).returncode == 0
    return root / "run"


def test_evaluation_gives_figures_with_intervals_and_a_picture(
    run: Path, cohort_folder: Path, tmp_path: Path
) -> None:
    roc = tmp_path / "roc.png"
    options = ("--data", cohort_folder, "--split", "train", "--resamples", 50, "--roc", roc, "--json")
    done = fedchest("evaluate", run, *options)
    figures = json.loads(done.stdout)
    assert "the training learned from these images" in done.stderr
    assert roc.read_bytes().startswith(PNG)

    study, number, model = load_run_model(RunDirectory(run))[:3]
    data = load_dataset(
        read_chexpert(cohort_folder, "train", views=study.views),
        size=32,
        cache_dir=tmp_path,
        label_names=study.labels,
        policies=study.uncertainty,
    )
    assert (figures["round"], figures["images"], figures["patients"]) == (number, len(data), 80)
    scores = predict(model, data)
    for column, name in enumerate(study.labels):
        kept = data.mask[:, column]
        value, low, high = figures["labels"][name]["auroc"]
        assert value == pytest.approx(roc_auc_score(data.targets[kept, column], scores[kept, column]))
        assert low is None or low <= value <= high
    assert figures["mean_of_competition"] == figures["mean"]


def test_undefined_figures_are_said_to_be(run: Path, cohort_folder: Path) -> None:
    """Four public patients: some label has no positive among them."""
    done = fedchest("evaluate", run, "--data", cohort_folder, "--resamples", 20)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not measured" in done.stdout


def test_prediction_names_probability_scale_and_draws_the_evidence(
    run: Path, cohort_folder: Path, tmp_path: Path
) -> None:
    images = sorted((cohort_folder / "CheXpert-v1.0-small" / "valid").rglob("view1_frontal.png"))[:2]
    found = json.loads(fedchest("predict", run, *images, "--out", tmp_path, "--json").stdout)
    assert [entry["image"] for entry in found] == [str(path) for path in images]
    model = load_run_model(RunDirectory(run)).model
    pixels = np.asarray(Image.open(images[0]))
    expected = torch.sigmoid(model(network_input(pixels[None])).logits)[0].tolist()
    labels = found[0]["labels"]
    assert [label["probability"] for label in labels.values()] == pytest.approx(expected, rel=1e-4)
    assert {label["stride"] for label in labels.values()} <= set(model.strides)
    by_stride = [label["logit_by_stride"] for label in labels.values()]
    logits = model(network_input(pixels[None])).logits[0].tolist()
    assert [sum(one.values()) for one in by_stride] == pytest.approx(logits, rel=1e-3)
    assert fedchest("predict", run, images[0], "--out", tmp_path, "--explain", "evidence").returncode == 0
    without_folder = fedchest("predict", run, images[0], "--explain", "evidence")
    assert (without_folder.returncode, without_folder.stdout) == (2, "")
    assert "it needs --out" in without_folder.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "001-view1_frontal.png",
        "002-view1_frontal.png",
    ]
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.iterdir())


def test_the_heatmap_is_the_decision(run: Path) -> None:
    """Evidence added everywhere at one scale moves the logit by as much, and nothing else does."""
    model = load_run_model(RunDirectory(run)).model
    image = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    before = {one.label: one for one in explain(model, image, {})}
    with torch.no_grad():
        model.head.scales[1][-1].bias[0] += 7.0
    after = {one.label: one for one in explain(model, image, {})}
    first = model.config.label_names[0]
    logit = {
        when: np.log(found[first].probability / (1 - found[first].probability))
        for when, found in (("before", before), ("after", after))
    }
    assert logit["after"] - logit["before"] == pytest.approx(7.0, abs=1e-3)
    assert after[first].stride == model.strides[1]
    maps_before = heatmaps(model, image, Explanation.EVIDENCE)
    with torch.no_grad():
        model.head.scales[1][-1].bias[0] += 7.0
    maps_after = heatmaps(model, image, Explanation.EVIDENCE)
    assert (maps_after[0] - maps_before[0]).mean() == pytest.approx(7.0, abs=1e-3)
    np.testing.assert_array_equal(maps_after[1:], maps_before[1:])
    for label in model.config.label_names[1:]:
        assert after[label].by_stride == before[label].by_stride


def test_faults_are_one_sentence(run: Path, cohort_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"hello")
    image = tmp_path / "no.png"
    for arguments, sentence in (
        (("evaluate", tmp_path, "--data", cohort_folder), "not a complete FedChest folder"),
        (
            ("evaluate", run, "--data", cohort_folder, "--round", 9),
            "no model of round 9; there are models of rounds 0, 1",
        ),
        (("evaluate", run, "--data", tmp_path), "holds no CheXpert tree"),
        (("predict", run, image), "is not a PNG, JPEG or DICOM image"),
        (("predict", run, tmp_path / "absent.png"), "can't be read"),
    ):
        done = fedchest(*arguments)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1
