"""Every head with every fusion and all streams: what holds for one composition has to hold for each."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from fedchest.learning.gradients import PATIENT_GRADIENTS, DpEngine
from fedchest.learning.owners import Owners
from fedchest.models.chest import ChestModel, ModelConfig, Output, Part, build_model
from fedchest.models.dual_stream import Streams
from fedchest.models.fusion import Fusion
from fedchest.models.heads import READ_ALONE, Head
from fedchest.models.parameters import parameters

EVERYTHING = ModelConfig(
    ("Consolidation", "Fracture", "Pneumonia"),
    image_size=32,
    embedding=8,
    hierarchy=True,
    multiclass=("Fracture", "Consolidation"),
    parts=tuple(Part),
)
COMPOSITIONS = [
    pytest.param(
        replace(EVERYTHING, head=head, fusion=fusion, streams=streams), id=f"{head}-{fusion}-{streams}"
    )
    for head, fusion, streams in product(Head, Fusion, Streams)
]


def images(count: int) -> Tensor:
    return torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def by_row(output: Output) -> Tensor:
    """A loss that reads all that is said, float[N]."""
    return torch.stack([value.clamp(-9, 9).square().flatten(1).mean(1) for value in output]).sum(0)


@pytest.mark.parametrize("config", COMPOSITIONS)
def test_rows_do_not_depend_on_each_other(config: ModelConfig) -> None:
    model, batch = build_model(config, 0), images(3)
    other = torch.cat([batch[:1], 1 - batch[1:]])
    together, changed = model(batch)._asdict(), model(other)._asdict()
    assert None not in together.values()
    for field, values in together.items():
        torch.testing.assert_close(values[0], changed[field][0])
    torch.testing.assert_close(model.predict(batch)[0], model.predict(other)[0])


@pytest.mark.parametrize("config", COMPOSITIONS)
def test_the_decision_adds_up_to_the_logits(config: ModelConfig) -> None:
    model, batch = build_model(config, 0), images(2)
    decision = model.decide(batch)
    torch.testing.assert_close(decision.by_scale.sum(1), model(batch).logits)
    assert model.strides == ((16,) if config.head in READ_ALONE else (4, 8, 16))
    assert decision.by_scale.shape == (2, len(model.strides), 3)
    for cells, stride in zip(decision.cells, model.strides, strict=True):
        assert cells.shape == (2, 3, 32 // stride, 32 // stride)


def by_torch_func(model: ChestModel, batch: Tensor, owners: Owners) -> Tensor:
    """Each patient's own gradient in float64, flat: an independent way to get it.

    No weight may be without any: it would be trained by noise alone.
    """
    exact, wide = build_model(model.config, 0).double(), batch.double()

    def loss(weights: dict[str, Tensor], row: Tensor) -> Tensor:
        return by_row(functional_call(exact, weights, (row[None],))).sum()

    found = vmap(grad(loss), in_dims=(None, 0))(dict(exact.named_parameters()), wide)
    assert not [name for name, values in found.items() if not values.any()]
    return torch.cat([owners.sum(values.detach().flatten(1)) for values in found.values()], dim=1)


def check_gradients(config: ModelConfig, engine: DpEngine) -> None:
    model, batch, owners = build_model(config, 0), images(3), Owners(torch.tensor([0, 0, 1]), 2)
    expected = by_torch_func(model, batch, owners)
    norms = expected.norm(dim=1)
    bound = float(norms.min()) / 2
    with PATIENT_GRADIENTS[engine](model) as gradients:
        found = gradients.clipped_sum(by_row(model(batch)).sum(), owners, bound)
    exact = (bound / norms) @ expected
    assert float((found.double() - exact).norm() / exact.norm()) < 1e-4


@pytest.mark.parametrize("config", COMPOSITIONS)
def test_book_keeping_knows_every_layer(config: ModelConfig) -> None:
    check_gradients(config, DpEngine.BOOKKEEPING)


@pytest.mark.parametrize("head", [Head.EVIDENCE_JOINT, Head.ATTENTION])
def test_opacus_knows_every_layer(head: Head) -> None:
    config = replace(EVERYTHING, head=head, fusion=Fusion.TOP_DOWN, streams=Streams.CROSS_ATTENTION)
    check_gradients(config, DpEngine.OPACUS)


@pytest.mark.parametrize("config", COMPOSITIONS)
def test_the_same_seed_composes_the_same_weights(config: ModelConfig) -> None:
    first, again, other = (parameters(build_model(config, seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)
