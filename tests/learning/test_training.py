"""Plain training learns, private training with little noise follows plain training."""

from dataclasses import replace

import pytest
from blobs import blobs

from fedchest.errors import ConfigError, DataError
from fedchest.learning.dp import DpConstants, train_privately
from fedchest.learning.evaluate import evaluate
from fedchest.learning.objectives import OBJECTIVES, objective_named
from fedchest.learning.optimisation import Optimisation
from fedchest.learning.plain import train_plainly
from fedchest.models.chest import ChestModel
from fedchest.protection.randomness import Randomness

ADAM = Optimisation("adam", learning_rate=2e-3)


def mean_auroc(model: ChestModel) -> float:
    figure = evaluate(model, blobs(patients=60, images_each=1, seed=9)).mean_auroc
    assert figure is not None
    return figure


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_each_objective_learns_without_dp(model: ChestModel, name: str) -> None:
    objective, random = objective_named(name, private=False), Randomness.derived(b"x", "train")
    train_plainly(model, blobs(60), ADAM, objective, steps=25, batch=16, random=random)
    assert mean_auroc(model) > 0.8


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
    train_plainly(
        model, blobs(8), ADAM, OBJECTIVES["bce"], steps=3, batch=4, random=random, on_step=steps.append
    )
    assert steps == [1, 2, 3]


def test_no_image_and_unknown_optimisers_are_refused(model: ChestModel) -> None:
    data, random = blobs(4), Randomness.derived(b"x", "train")
    nothing = replace(
        data, images=data.images[:0], targets=data.targets[:0], mask=data.mask[:0], patients=data.patients[:0]
    )
    with pytest.raises(DataError, match="no image"):
        train_plainly(model, nothing, ADAM, OBJECTIVES["bce"], steps=1, batch=4, random=random)
    for optimisation, name in ((Optimisation("lion"), "lion"), (Optimisation("sgd", 0.0), "learning_rate")):
        with pytest.raises(ConfigError, match=name):
            train_plainly(model, data, optimisation, OBJECTIVES["bce"], steps=1, batch=4, random=random)
