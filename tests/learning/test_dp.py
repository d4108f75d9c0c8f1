"""What the epsilon stands on: bounded patients, the noise's size, Poisson draws."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from blobs import blobs
from scipy import stats

from fedchest.data.dataset import ChestDataset
from fedchest.errors import ConfigError, UnboundedLossError
from fedchest.learning import dp as dp_module
from fedchest.learning.batches import rows
from fedchest.learning.dp import DpConstants, choose_images, clipped_sum, draw_patients, train_privately
from fedchest.learning.gradients import DpEngine
from fedchest.learning.objectives import OBJECTIVES, Objective, objective_named
from fedchest.learning.optimisation import Optimisation
from fedchest.learning.owners import Owners
from fedchest.models.chest import ChestModel
from fedchest.models.parameters import Trainable, load_parameters, parameters, restrict
from fedchest.protection.randomness import Randomness

CONSTANTS = DpConstants(
    sampling_rate=0.5,
    noise_multiplier=1.0,
    clipping_norm=0.5,
    steps=2,
    images_per_patient=3,
    delta=1e-5,
    expected_patients=4.0,
)
ROUNDING = 0.01
PRIVATE = [objective for objective in OBJECTIVES.values() if not objective.coupling]
PLAIN_SGD = Optimisation("sgd", learning_rate=1.0, momentum=0.0)


def fixed(label: str = "test") -> Randomness:
    return Randomness.derived(b"learning tests", label)


def records_of(data: ChestDataset) -> list[np.ndarray]:
    return [data.rows_of(patient) for patient in range(data.patient_count)]


def worst_removal(
    model: ChestModel,
    data: ChestDataset,
    objective: Objective,
    norm: float,
    engine: DpEngine = DpEngine.BOOKKEEPING,
) -> float:
    """The most that the clipped sum moves, in units of the norm, when one patient is removed.

    Up to float32 rounding: a smaller batch may round the other rows' activations otherwise, which ROUNDING allows.
    """
    records = records_of(data)
    total = clipped_sum(model, data, records, objective, norm, engine=engine)
    without = [
        clipped_sum(model, data, records[:gone] + records[gone + 1 :], objective, norm, engine=engine)
        for gone in range(len(records))
    ]
    return max(float((total - rest).norm()) for rest in without) / norm


@pytest.mark.parametrize("objective", PRIVATE, ids=lambda objective: objective.name)
@pytest.mark.parametrize("norm", [1e-3, 0.5])
@pytest.mark.parametrize("engine", DpEngine)
def test_removing_a_patient_changes_the_clipped_sum_by_at_most_the_norm(
    model: ChestModel, objective: Objective, norm: float, engine: DpEngine
) -> None:
    worst = worst_removal(model, blobs(patients=5, images_each=3), objective, norm, engine)
    assert 0.9 < worst <= 1.0 + ROUNDING


def test_clipping_each_image_instead_would_be_noticed(
    model: ChestModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PerImage(Owners):
        @classmethod
        def of_records(cls, records):
            images = sum(len(record) for record in records)
            return cls(torch.arange(images), images)

    monkeypatch.setattr(dp_module, "Owners", PerImage)
    worst = worst_removal(model, blobs(patients=4, images_each=3), objective_named("bce", private=True), 1e-3)
    assert worst > 1.5


def test_a_batch_contrast_would_be_noticed(model: ChestModel) -> None:
    coupled = replace(objective_named("bce+supcon", private=False), coupling="")
    assert worst_removal(model, blobs(patients=6, images_each=1), coupled, 1e-3) > 1.0 + 2 * ROUNDING


def test_an_unbounded_norm_gives_each_patient_the_mean_of_its_images(model: ChestModel) -> None:
    data, objective = blobs(patients=3, images_each=2), objective_named("bce", private=True)
    total = clipped_sum(model, data, records_of(data), objective, clipping_norm=1e9)
    images, targets, mask = rows(data, np.arange(6))
    (objective.rows(model(images), targets, mask).sum() / 2).backward()
    plain = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    torch.testing.assert_close(
        total, torch.cat([gradient.flatten() for gradient in plain]), rtol=1e-3, atol=1e-5
    )


def test_micro_batches_change_nothing_but_memory(model: ChestModel) -> None:
    data, objective = blobs(patients=5, images_each=3), objective_named("bce+prototypes", private=True)
    whole = clipped_sum(model, data, records_of(data), objective, 0.5)
    pieces = clipped_sum(model, data, records_of(data), objective, 0.5, rows_at_once=4)
    assert (whole - pieces).norm() < ROUNDING * whole.norm()


def test_a_patient_without_a_finite_gradient_contributes_nothing(model: ChestModel) -> None:
    data = blobs(patients=3, images_each=2)
    broken = replace(data, targets=data.targets.copy(), mask=np.ones_like(data.mask))
    broken.targets[data.rows_of(1)] = np.nan
    objective, records = objective_named("bce", private=True), records_of(data)
    with_it = clipped_sum(model, broken, records, objective, 0.5)
    without = clipped_sum(model, broken, [records[0], records[2]], objective, 0.5)
    assert (with_it - without).norm() < ROUNDING * without.norm()


def test_an_empty_draw_moves_the_model_by_the_noise(model: ChestModel) -> None:
    """With nobody drawn, a step of size 1 is noise of deviation sigma C / expected, and nothing else.

    The sample variance of n normal values is chi-squared; its two-sided test here is false once in 10^6 runs of
    other noise (the noise is fixed, so this run is repeatable).
    """
    constants = replace(CONSTANTS, sampling_rate=1e-9, steps=1)
    before = parameters(model)
    train_privately(
        model, blobs(patients=3), constants, PLAIN_SGD, objective_named("bce", private=True), fixed()
    )
    after = parameters(model)
    moved = np.concatenate([(after[name] - before[name]).ravel() for name in before]).astype(np.float64)
    deviation = constants.noise_multiplier * constants.clipping_norm / constants.expected_patients
    low, high = stats.chi2.interval(1 - 1e-6, len(moved))
    assert low < np.square(moved / deviation).sum() < high
    assert abs(moved.mean()) < 5 * deviation / np.sqrt(len(moved))


def test_noise_is_fresh_in_each_step(model: ChestModel) -> None:
    constants = replace(CONSTANTS, sampling_rate=1e-9, steps=1)
    moves, random = [], fixed()
    for label in ("a", "b"):
        before = parameters(model)["projector.0.weight"]
        train_privately(
            model,
            blobs(patients=3),
            constants,
            PLAIN_SGD,
            objective_named("bce", private=True),
            random.child(label),
        )
        moves.append((parameters(model)["projector.0.weight"] - before).ravel())
    assert abs(np.corrcoef(moves)[0, 1]) < 0.3


def test_patients_are_drawn_at_the_sampling_rate() -> None:
    """Draws are binomial; the two-sided test is false once in 10^6 runs of another secret."""
    data, random, rate = blobs(patients=200, images_each=1), fixed("draws"), 0.3
    draws = [draw_patients(data, rate, random) for _ in range(100)]
    low, high = stats.binom.interval(1 - 1e-6, 200 * 100, rate)
    assert low <= sum(map(len, draws)) <= high
    assert len({len(draw) for draw in draws}) > 5, "Poisson sampling does not draw a fixed number"
    per_patient = np.bincount(np.concatenate(draws), minlength=200)
    low, high = stats.binom.interval(1 - 1e-6 / 200, 100, rate)
    assert low <= per_patient.min() and per_patient.max() <= high


def test_a_step_uses_at_most_k_images_of_a_patient() -> None:
    data, random = blobs(patients=2, images_each=6), fixed()
    chosen = [choose_images(data, 1, 2, random) for _ in range(50)]
    assert all(len(set(rows)) == 2 and set(rows) <= set(data.rows_of(1)) for rows in chosen)
    assert set(np.concatenate(chosen)) == set(data.rows_of(1))
    assert len(choose_images(data, 1, 9, random)) == 6


def test_the_same_secret_repeats_the_training(model: ChestModel) -> None:
    start, results = parameters(model), []
    for _ in range(2):
        load_parameters(model, start)
        train_privately(model, blobs(8), CONSTANTS, PLAIN_SGD, PRIVATE[0], fixed())
        results.append(parameters(model))
    for name, values in results[0].items():
        np.testing.assert_allclose(values, results[1][name], rtol=1e-4, atol=1e-6)


def test_frozen_parameters_stay_and_hooks_are_gone(model: ChestModel) -> None:
    restrict(model, Trainable.HEAD)
    before, steps = parameters(model), []
    train_privately(model, blobs(8), CONSTANTS, PLAIN_SGD, PRIVATE[0], fixed(), on_step=steps.append)
    after = parameters(model)
    assert steps == [1, 2]
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed and not any(name.startswith("encoder.") for name in changed)
    assert not any(hasattr(parameter, "grad_sample") for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


@pytest.mark.parametrize(
    "name", ["NT-Xent", "supcon", "bce+supcon", "MoCo", "VICReg", "Barlow-Twins", "mixup", "AUC-margin"]
)
def test_losses_that_couple_patients_are_refused_by_name_with_the_nearest(name: str) -> None:
    with pytest.raises(UnboundedLossError, match=re.escape(name) + r".*use 'bce\+prototypes'"):
        objective_named(name, private=True)


def test_training_refuses_a_coupled_objective_and_batch_norm(model: ChestModel) -> None:
    with pytest.raises(UnboundedLossError, match="supcon"):
        train_privately(
            model, blobs(3), CONSTANTS, PLAIN_SGD, objective_named("bce+supcon", private=False), fixed()
        )
    model.projector.append(torch.nn.BatchNorm1d(16))
    with pytest.raises(UnboundedLossError, match="batch normalisation"):
        train_privately(model, blobs(3), CONSTANTS, PLAIN_SGD, PRIVATE[0], fixed())


def test_unknown_objectives_are_refused() -> None:
    with pytest.raises(ConfigError, match="hinge"):
        objective_named("hinge", private=False)
    with pytest.raises(ConfigError, match="nt-xent"):
        objective_named("nt-xent", private=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sampling_rate", 0.0),
        ("sampling_rate", 1.1),
        ("noise_multiplier", 0.0),
        ("clipping_norm", -1.0),
        ("steps", 0),
        ("images_per_patient", 0),
        ("delta", 1.0),
        ("expected_patients", 0.0),
        ("expected_patients", float("nan")),
    ],
)
def test_constants_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(CONSTANTS, **{name: value})
