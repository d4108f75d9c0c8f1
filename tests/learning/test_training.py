"""Plain training learns by every term, private training with little noise follows it, and bad numbers stop both."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from blobs import blobs
from looking import ALTERED, PUBLIC, looks_at, started, values

from fedchest.data.dataset import ChestDataset
from fedchest.errors import ConfigError, DataError, TrainingError
from fedchest.learning.dp import DpConstants, train_privately
from fedchest.learning.evaluate import evaluate
from fedchest.learning.objectives import TERMS, objective_named
from fedchest.learning.optimisation import Optimisation
from fedchest.learning.plain import train_plainly
from fedchest.learning.views import ONE_VIEW
from fedchest.models.chest import ChestModel
from fedchest.models.parameters import parameters
from fedchest.protection.randomness import Randomness

ADAM = Optimisation("adam", learning_rate=2e-3)
BCE = objective_named("bce", private=True)
SUPERVISED = ["bce", "bce+prototypes", "bce+supcon", "asymmetric", "bce+auc-margin", "bce+byol+rotation"]
UNLABELLED = sorted(TERMS.keys() - {"bce", "prototypes", "asymmetric", "auc-margin", "supcon"})


def mean_auroc(model: ChestModel) -> float:
    figure = evaluate(model, blobs(patients=60, images_each=1, seed=9)).mean_auroc
    assert figure is not None
    return figure


def squares(images: int) -> ChestDataset:
    """Two images a patient, each with a bright square somewhere."""
    data, random = blobs(images // 2, images_each=2), np.random.default_rng(3)
    data.images[:] = 60
    for image, (top, left) in zip(data.images, random.integers(0, 22, (images, 2)), strict=True):
        image[top : top + 10, left : left + 10] = 220
    return data


@pytest.mark.parametrize("name", SUPERVISED)
def test_each_way_to_learn_from_labels_ranks_images(complete_model: ChestModel, name: str) -> None:
    objective, random = objective_named(name, private=False), Randomness.derived(b"x", "train")
    seen = ALTERED if "byol" in name else ONE_VIEW
    train_plainly(complete_model, blobs(60), ADAM, objective, steps=30, batch=16, random=random, viewing=seen)
    assert mean_auroc(complete_model) > 0.8


@pytest.mark.parametrize("name", UNLABELLED)
def test_each_way_to_learn_without_labels_lowers_its_own_loss(complete_model: ChestModel, name: str) -> None:
    """Of a second step, so that memories are filled; of a target and memory that start anew before and after."""
    objective, data = objective_named(name, private=False), squares(16)
    if name == "micle":
        data.images[1::2] = data.images[::2]

    def loss_now() -> float:
        loss, looks = started(objective, complete_model, data), looks_at(data, objective)
        values(loss, complete_model, data, looks)
        return float(values(loss, complete_model, data, looks).mean())

    before = loss_now()
    random = Randomness.derived(b"x", "train")
    train_plainly(
        complete_model,
        data,
        ADAM,
        objective,
        steps=40,
        batch=8,
        random=random,
        viewing=ALTERED,
        public_images=PUBLIC,
    )
    assert loss_now() < before - 0.02 * abs(before)


def test_private_training_learns_when_the_noise_allows_it(model: ChestModel) -> None:
    constants = DpConstants(0.3, 0.05, 1.0, 25, 2, 1e-5, 18.0)
    train_privately(
        model,
        blobs(60),
        constants,
        Optimisation("sgd", 0.5, 0.5),
        objective_named("bce+prototypes", private=True),
        Randomness.derived(b"x", "private"),
    )
    assert mean_auroc(model) > 0.8


def test_every_step_is_reported(model: ChestModel) -> None:
    steps: list[int] = []
    random = Randomness.derived(b"x", "train")
    train_plainly(model, blobs(8), ADAM, BCE, steps=3, batch=4, random=random, on_step=steps.append)
    assert steps == [1, 2, 3]


def test_no_image_and_unknown_optimisers_are_refused(model: ChestModel) -> None:
    data, random = blobs(4), Randomness.derived(b"x", "train")
    nothing = replace(
        data, images=data.images[:0], targets=data.targets[:0], mask=data.mask[:0], patients=data.patients[:0]
    )
    with pytest.raises(DataError, match="no image"):
        train_plainly(model, nothing, ADAM, BCE, steps=1, batch=4, random=random)
    for optimisation, name in ((Optimisation("lion"), "lion"), (Optimisation("sgd", 0.0), "learning_rate")):
        with pytest.raises(ConfigError, match=name):
            train_plainly(model, data, optimisation, BCE, steps=1, batch=4, random=random)


def test_pieces_of_a_step_add_up_to_the_step(complete_model: ChestModel) -> None:
    data, objective, results = blobs(6), objective_named("bce+byol", private=True), []
    sgd, start = Optimisation("sgd", 0.1, 0.0), complete_model.state_dict()
    start = {name: value.clone() for name, value in start.items()}
    for at_once in (None, 3):
        complete_model.load_state_dict(start)
        train_plainly(
            complete_model,
            data,
            sgd,
            objective,
            steps=2,
            batch=8,
            random=Randomness.derived(b"x", "train"),
            viewing=ALTERED,
            images_at_once=at_once,
        )
        results.append(parameters(complete_model))
    for name, whole in results[0].items():
        np.testing.assert_allclose(whole, results[1][name], rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_not_finite_names_the_step_and_leaves_the_last_good_model(model: ChestModel) -> None:
    """The first step's update makes the parameters infinite, which the second step's loss shows."""
    start, random = parameters(model), Randomness.derived(b"x", "train")
    wild = Optimisation("adam", 1e38, momentum=0.0)
    with pytest.raises(TrainingError, match="step 2 of 5"):
        train_plainly(model, blobs(8), wild, BCE, steps=5, batch=4, random=random)
    for name, after in parameters(model).items():
        np.testing.assert_array_equal(after, start[name])
    with pytest.raises(TrainingError, match="last of 1 steps"):
        train_plainly(model, blobs(8), replace(wild, weight_decay=3.0), BCE, steps=1, batch=4, random=random)
    assert all(np.isfinite(after).all() for after in parameters(model).values())


def test_a_label_that_is_no_number_stops_plain_training(model: ChestModel) -> None:
    data, random, steps = blobs(8), Randomness.derived(b"x", "train"), []
    broken = replace(data, targets=np.full_like(data.targets, np.nan), mask=np.ones_like(data.mask))
    with pytest.raises(TrainingError, match="step 1 of 3"):
        train_plainly(model, broken, ADAM, BCE, steps=3, batch=4, random=random, on_step=steps.append)
    assert steps == []


def test_training_in_bfloat16_learns(model: ChestModel) -> None:
    random = Randomness.derived(b"x", "train")
    train_plainly(model, blobs(60), ADAM, BCE, steps=30, batch=16, random=random, autocast=torch.bfloat16)
    assert mean_auroc(model) > 0.8


def test_multiplicity_and_private_steps_go_together(complete_model: ChestModel) -> None:
    constants = DpConstants(0.3, 0.05, 1.0, 20, 1, 1e-5, 18.0)
    train_privately(
        complete_model,
        blobs(60),
        constants,
        Optimisation("sgd", 0.5, 0.5),
        objective_named("bce+byol", private=True),
        Randomness.derived(b"x", "private"),
        viewing=ALTERED,
    )
    assert mean_auroc(complete_model) > 0.75
