"""What is trained is what the strategy names and the objective reaches."""

import pytest
import torch

from fedchest.errors import ConfigError
from fedchest.learning.augmentation import AUGMENTATIONS
from fedchest.learning.objectives import objective_named
from fedchest.learning.optimisation import Optimisation, build_optimizer, trained
from fedchest.learning.reach import train_only
from fedchest.learning.views import Viewing
from fedchest.models.chest import ModelConfig, Part, build_model
from fedchest.models.parameters import Trainable, trained_parameters

LABELS = ("Edema", "Consolidation")
LIGHT = Viewing(AUGMENTATIONS["light"])
ALL_PARTS = tuple(Part)


def names(objective: str, trainable: Trainable, **config: object) -> set[str]:
    settings: dict[str, object] = {"parts": ALL_PARTS, "image_size": 32, **config}
    model = build_model(ModelConfig(LABELS, **settings), seed=0)  # type: ignore[arg-type]
    train_only(model, trainable, objective_named(objective, private=True), LIGHT)
    return set(trained_parameters(model))


def roots(found: set[str]) -> set[str]:
    return {name.split(".")[0] for name in found}


def test_each_objective_trains_the_parts_that_it_reads_and_no_other() -> None:
    assert roots(names("bce", Trainable.ALL)) == {"encoder", "head"}
    assert roots(names("bce+prototypes", Trainable.ALL)) == {"encoder", "head", "projector", "prototypes"}
    assert roots(names("byol", Trainable.ALL)) == {"encoder", "projector", "predictor"}
    assert roots(names("reconstruction", Trainable.HEAD)) == {"decoder"}
    assert roots(names("rotation", Trainable.ALL)) == {"encoder", "rotation"}


def test_adapters_are_trained_and_their_bases_are_not() -> None:
    found = names("bce", Trainable.ADAPTERS, adapter_rank=2)
    of_encoder = {name for name in found if name.startswith("encoder.")}
    assert of_encoder
    assert all(".adapter_" in name for name in of_encoder)
    assert not any(".base." in name for name in found)
    assert "head" in roots(found)


def test_norms_and_biases_are_vectors() -> None:
    model = build_model(ModelConfig(LABELS, image_size=32), seed=0)
    train_only(model, Trainable.NORMS_AND_HEAD, objective_named("bce", private=True), LIGHT)
    of_encoder = [value for name, value in model.named_parameters() if name.startswith("encoder.")]
    assert {value.dim() for value in of_encoder if value.requires_grad} == {1}


def test_an_objective_that_compares_views_needs_views_that_differ() -> None:
    model = build_model(ModelConfig(LABELS, image_size=32, parts=ALL_PARTS), seed=0)
    with pytest.raises(ConfigError, match="augmentation"):
        train_only(model, Trainable.ALL, objective_named("byol", private=True), Viewing())


def test_rates_follow_relative_gradients() -> None:
    """Of two tensors with gradient over weight 1 and 1/4, the second moves at a quarter of the rate."""
    first, second, third = (torch.nn.Parameter(torch.full((4,), value)) for value in (1.0, 4.0, 1.0))
    optimizer = build_optimizer(
        Optimisation("sgd", learning_rate=0.1, momentum=0.0, relative_gradients=True), [first, second, third]
    )
    first.grad, second.grad = torch.ones(4), torch.ones(4)
    optimizer.step()
    torch.testing.assert_close(first.detach(), torch.full((4,), 0.9))
    torch.testing.assert_close(second.detach(), torch.full((4,), 4.0 - 0.025))
    torch.testing.assert_close(third.detach(), torch.ones(4))


def test_a_model_has_something_to_train_under_every_strategy() -> None:
    for strategy in Trainable:
        rank = 2 if strategy is Trainable.ADAPTERS else 0
        model = build_model(ModelConfig(LABELS, image_size=32, adapter_rank=rank), seed=0)
        train_only(model, strategy, objective_named("bce", private=True), LIGHT)
        assert trained(model)
