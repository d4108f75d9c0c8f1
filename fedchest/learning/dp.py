"""DP-SGD whose unit is the patient (Abadi et al. 2016, algorithm 1, with a patient's rows as one record).

One step: draw patients by Poisson sampling; average each drawn patient's gradient over at most K of the
patient's images; clip it to C; add the clipped gradients up; add Gaussian noise of deviation sigma times C;
divide by a public constant; let the optimiser step. Adding or removing one patient changes the sum before the
noise by at most C, so the step is a Poisson-subsampled Gaussian mechanism, which `fedchest.accounting` composes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedchest.data.dataset import ChestDataset
from fedchest.errors import ConfigError
from fedchest.learning.batches import rows
from fedchest.learning.gradients import PATIENT_GRADIENTS, DpEngine
from fedchest.learning.objectives import Objective, objective_named
from fedchest.learning.optimisation import Optimisation, build_optimizer
from fedchest.learning.owners import Owners
from fedchest.models.chest import ChestModel
from fedchest.models.normalization import refuse_batch_coupling
from fedchest.protection.randomness import Randomness

ROWS_AT_ONCE = 64

# Clipping is computed in float32; this much below C, its rounding can't carry a patient's sum above C.
CLIPPING_MARGIN = 1e-4

Vector = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DpConstants:
    """The study's privacy constants; none of them may follow from a hospital's own number of patients.

    sampling_rate: probability in (0, 1] that a step draws a given patient.
    noise_multiplier: the noise's deviation in units of the clipping norm, above 0.
    clipping_norm: C, the most that one patient moves the sum of gradients, in L2, above 0.
    steps: steps in each round. images_per_patient: K, the most images of one patient in one step.
    delta: the probability that epsilon does not cover, in (0, 1).
    expected_patients: the divisor of the noised sum, above 0: the sampling rate times the public size that
    the weight class stands for.
    """

    sampling_rate: float
    noise_multiplier: float
    clipping_norm: float
    steps: int
    images_per_patient: int
    delta: float
    expected_patients: float

    def __post_init__(self) -> None:
        allowed = {
            "sampling_rate": 0 < self.sampling_rate <= 1,
            "noise_multiplier": self.noise_multiplier > 0,
            "clipping_norm": self.clipping_norm > 0,
            "steps": self.steps >= 1,
            "images_per_patient": self.images_per_patient >= 1,
            "delta": 0 < self.delta < 1,
            "expected_patients": self.expected_patients > 0,
        }
        for name, holds in allowed.items():
            if not holds:
                raise ConfigError(f"DP constant {name} = {getattr(self, name)} is outside its allowed range.")


def train_privately(
    model: ChestModel,
    data: ChestDataset,
    dp: DpConstants,
    optimisation: Optimisation,
    objective: Objective,
    random: Randomness,
    *,
    engine: DpEngine = DpEngine.BOOKKEEPING,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Take `dp.steps` private steps on `model` in place; every step adds noise, also one that draws nobody.

    The caller has reserved the steps' epsilon before. `on_step` is called after each step with the number of
    steps taken. Raises UnboundedLossError when the objective or a layer couples patients.
    """
    objective_named(objective.name, private=True)
    optimizer = build_optimizer(optimisation, _trained(model))
    draws, images, noise = random.child("patients"), random.child("images"), random.child("noise")
    for step in range(1, dp.steps + 1):
        drawn = draw_patients(data, dp.sampling_rate, draws)
        records = [choose_images(data, patient, dp.images_per_patient, images) for patient in drawn]
        total = clipped_sum(model, data, records, objective, dp.clipping_norm, engine=engine)
        _set_gradients(model, noised_mean(total, dp, noise))
        optimizer.step()
        if on_step:
            on_step(step)


def draw_patients(data: ChestDataset, sampling_rate: float, random: Randomness) -> Vector:
    """The patients of one step, each drawn independently with `sampling_rate`; may be none.

    The rate is tested by `tests/learning/test_dp.py::test_patients_are_drawn_at_the_sampling_rate`.
    """
    return np.flatnonzero(random.bernoulli(data.patient_count, sampling_rate))


def choose_images(data: ChestDataset, patient: int, most: int, random: Randomness) -> Vector:
    """At most `most` rows of `patient`, chosen uniformly without replacement, ascending."""
    own = data.rows_of(patient)
    if len(own) <= most:
        return own
    return np.sort(own[np.argsort(random.uniform(len(own)))[:most]])


def clipped_sum(
    model: ChestModel,
    data: ChestDataset,
    records: Sequence[Vector],
    objective: Objective,
    clipping_norm: float,
    *,
    engine: DpEngine = DpEngine.BOOKKEEPING,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Tensor:
    """The sum over `records` of each patient's mean gradient over its rows, clipped to `clipping_norm`.

    `records[i]` holds the rows of one patient, int64. Returns float32[parameters trained], in module order.
    Removing a record changes the result by at most the norm, tested in `tests/learning/test_dp.py` by
    `test_removing_a_patient_changes_the_clipped_sum_by_at_most_the_norm`. A patient whose gradient is not
    finite contributes nothing, which depends on that patient alone.
    `rows_at_once` bounds memory only: patients are never split between micro-batches.
    """
    refuse_batch_coupling(model)
    model.train()
    total = torch.zeros(sum(parameter.numel() for parameter in _trained(model)))
    with PATIENT_GRADIENTS[engine](model) as gradients:
        for together in _micro_batches(records, rows_at_once):
            owners = Owners.of_records(together)
            images, targets, mask = rows(data, np.concatenate(together))
            by_row = objective.rows(model(images), targets, mask) / owners.spread(owners.rows_each)
            total += gradients.clipped_sum(by_row.sum(), owners, clipping_norm * (1 - CLIPPING_MARGIN))
    return total


def noised_mean(total: Tensor, dp: DpConstants, random: Randomness) -> Tensor:
    """`(total + N(0, (sigma C)^2)) / expected_patients`, float32 of the shape of `total`.

    The deviation is tested by `tests/learning/test_dp.py::test_an_empty_draw_moves_the_model_by_the_noise`.
    """
    noise = torch.from_numpy(random.normal(total.numel()))
    return (total + noise * (dp.noise_multiplier * dp.clipping_norm)) / dp.expected_patients


def _micro_batches(records: Sequence[Vector], rows_at_once: int) -> Iterator[list[Vector]]:
    together: list[Vector] = []
    for record in records:
        if together and sum(map(len, together)) + len(record) > rows_at_once:
            yield together
            together = []
        together.append(record)
    if together:
        yield together


def _set_gradients(model: ChestModel, gradient: Tensor) -> None:
    trained = _trained(model)
    pieces = torch.split(gradient, [parameter.numel() for parameter in trained])
    for parameter, piece in zip(trained, pieces, strict=True):
        parameter.grad = piece.view_as(parameter).clone(memory_format=torch.preserve_format)


def _trained(model: ChestModel) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
