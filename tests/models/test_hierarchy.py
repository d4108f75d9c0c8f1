"""CheXpert's tree: which labels are asked, and the probability of a path."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedchest.data.labels import COMPETITION, OBSERVATIONS
from fedchest.errors import ConfigError
from fedchest.learning.batches import network_input
from fedchest.models.chest import ModelConfig, build_model
from fedchest.models.hierarchy import PARENTS, conditional_mask, paths, unconditional, with_ancestors
from fedchest.reporting.heatmaps import explain

NAMES = ("Pneumonia", "Lung Opacity", "Consolidation", "Fracture", "Edema")
"""Out of order, so that no parent's column can be taken for granted."""


def by_multiplication(logits: torch.Tensor) -> np.ndarray:
    """The definition for NAMES, in float64: the logarithms of the products of probabilities."""
    log = -np.logaddexp(0, -logits.numpy().astype(np.float64))
    opacity, consolidation = log[:, 1], log[:, 1] + log[:, 2]
    return np.stack(
        [consolidation + log[:, 0], opacity, consolidation, log[:, 3], opacity + log[:, 4]], axis=1
    )


def test_the_tree_is_made_of_observations_and_has_no_circle() -> None:
    assert set(PARENTS) | set(PARENTS.values()) <= set(OBSERVATIONS)
    assert paths(OBSERVATIONS)[OBSERVATIONS.index("Pneumonia")] == [
        OBSERVATIONS.index(name) for name in ("Lung Opacity", "Consolidation", "Pneumonia")
    ]


def test_a_missing_ancestor_is_replaced_by_the_one_above_it() -> None:
    assert paths(("Pneumonia", "Lung Opacity")) == [[1, 0], [1]]
    assert paths(("Pneumonia", "Fracture")) == [[0], [1]]


def test_a_label_is_asked_where_all_its_ancestors_are_known_to_be_there() -> None:
    #                       Pneumonia Opacity Consolidation Fracture Edema
    targets = torch.tensor([[0, 1, 1, 0, 0], [1, 1, 0, 0, 1], [1, 0, 1, 1, 1], [1, 1, 1, 0, 0]]).float()
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[3, 2] = mask[0, 4] = False
    expected = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 1, 0, 1, 1]])
    assert torch.equal(conditional_mask(targets, mask, NAMES), expected.bool())


def test_what_is_there_has_its_ancestors_there() -> None:
    #                       Pneumonia Opacity Consolidation Fracture Edema
    targets = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).float()
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[0, 1] = mask[3, 0] = False
    found, known = with_ancestors(targets, mask, NAMES)
    expected = [[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert torch.equal(found, torch.tensor(expected).float())
    assert known[0, 1]
    assert not known[3, 0]
    assert conditional_mask(found, known, NAMES)[0, 0]


def test_without_a_pair_of_labels_nothing_is_conditional() -> None:
    logits, mask = torch.randn(3, len(COMPETITION)), torch.rand(3, len(COMPETITION)) > 0.5
    assert torch.equal(unconditional(logits, COMPETITION), logits)
    assert torch.equal(conditional_mask(torch.zeros(3, 5), mask, COMPETITION), mask)


@given(st.lists(st.floats(-30, 30, width=32), min_size=5, max_size=5))
def test_a_probability_is_the_product_along_the_path(values: list[float]) -> None:
    logits = torch.tensor([values])
    expected, found = by_multiplication(logits), unconditional(logits, NAMES).double()
    np.testing.assert_allclose(found.sigmoid(), np.exp(expected), rtol=2e-5)
    np.testing.assert_allclose((-found).sigmoid(), -np.expm1(expected), rtol=2e-5)


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=5, max_size=5))
def test_a_finding_is_never_more_probable_than_its_parent(values: list[float]) -> None:
    found = unconditional(torch.tensor([values]), NAMES)[0]
    assert found.isfinite().all()
    for child, parent in ((0, 2), (2, 1), (4, 1)):
        assert found[child] <= found[parent]


def test_extreme_logits_have_finite_gradients() -> None:
    logits = torch.tensor([[-1e4, 200.0, 0.0, 1e4, 300.0]], requires_grad=True)
    unconditional(logits, NAMES).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_prediction_is_unconditional_and_training_is_not() -> None:
    flat, nested = (
        build_model(ModelConfig(NAMES, image_size=32, embedding=8, hierarchy=hierarchy), 0)
        for hierarchy in (False, True)
    )
    images = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(flat(images).logits, nested(images).logits)
    torch.testing.assert_close(flat.predict(images), flat(images).logits)
    torch.testing.assert_close(nested.predict(images), unconditional(flat(images).logits, NAMES))
    torch.testing.assert_close(nested.decide(images).by_scale.sum(1), nested(images).logits)


def test_what_is_explained_is_the_probability_that_is_predicted() -> None:
    model = build_model(ModelConfig(NAMES, image_size=32, embedding=8, hierarchy=True), 0)
    image = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    found = [one.probability for one in explain(model, image, {})]
    assert found == pytest.approx(model.predict(network_input(image[None]))[0].sigmoid().tolist())


def test_a_hierarchy_of_labels_that_have_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.hierarchy = true .* set data\.labels = all"):
        build_model(ModelConfig(COMPETITION, hierarchy=True), 0)
