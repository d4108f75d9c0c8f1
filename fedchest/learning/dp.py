"""DP-SGD whose unit is the patient (Abadi et al. 2016, algorithm 1, with a patient's rows as one record).

One step: draw patients by Poisson sampling; average each drawn patient's gradient over at most K of the
patient's images and over their views; clip it to C; add the clipped gradients up; add Gaussian noise of deviation
sigma times C; divide by a public constant; let the optimiser step. Adding or removing one patient changes the sum
before the noise by at most C, so the step is a Poisson-subsampled Gaussian mechanism, which `fedchest.accounting`
composes. Averaging views before clipping is the augmentation multiplicity of De et al. 2022.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedchest.data.dataset import ChestDataset
from fedchest.errors import ConfigError, TrainingError
from fedchest.learning.batches import batch_of
from fedchest.learning.gradients import PATIENT_GRADIENTS, DpEngine
from fedchest.learning.objectives import Loss, Objective
from fedchest.learning.optimisation import Optimisation, are_finite, build_optimizer, trained
from fedchest.learning.owners import Owners
from fedchest.learning.views import ONE_VIEW, Look, Viewing, look_at
from fedchest.models.chest import ChestModel
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
    viewing: Viewing = ONE_VIEW,
    public_images: Tensor | None = None,
    engine: DpEngine = DpEngine.BOOKKEEPING,
    rows_at_once: int = ROWS_AT_ONCE,
    autocast: torch.dtype | None = None,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Take `dp.steps` private steps on `model` in place; every step adds noise, also one that draws nobody.

    The caller has reserved the steps' epsilon before. `viewing`, `public_images` and `autocast` are as in
    `Objective`; the work is done where the model is. `on_step` is called after each step with the number of
    steps taken. Raises UnboundedLossError when the objective or a layer couples patients, TrainingError when the
    parameters are not finite any more.
    """
    objective.admit(private=True)
    viewing = objective.viewing(viewing)
    loss = objective.start(model, data, public_images=public_images, autocast=autocast)
    optimizer = build_optimizer(optimisation, trained(model))
    draws, images, noise, views = (random.child(of) for of in ("patients", "images", "noise", "views"))
    _require_finite(model, steps=0)
    for step in range(1, dp.steps + 1):
        drawn = draw_patients(data, dp.sampling_rate, draws)
        records = [choose_images(data, patient, dp.images_per_patient, images) for patient in drawn]
        looks = look_at(records, viewing, views)
        total = clipped_sum(
            model, data, looks, viewing, loss, dp.clipping_norm, engine=engine, rows_at_once=rows_at_once
        )
        _set_gradients(model, noised_mean(total, dp, noise))
        optimizer.step()
        loss.after_step(model)
        _require_finite(model, steps=step)
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
    looks: Sequence[Look],
    viewing: Viewing,
    loss: Loss,
    clipping_norm: float,
    *,
    engine: DpEngine = DpEngine.BOOKKEEPING,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Tensor:
    """The sum over `looks` of each patient's mean gradient over its images, clipped to `clipping_norm`.

    `looks[i]` is a look at one patient. Returns float32[parameters trained], in module order. Removing a look
    changes the result by at most the norm, tested in `tests/learning/test_dp.py` by
    `test_removing_a_patient_changes_the_clipped_sum_by_at_most_the_norm`. A patient whose gradient is not
    finite contributes nothing, which depends on that patient alone.
    `rows_at_once` bounds memory only: patients are never split between micro-batches.
    """
    # The allowance for a gradient that is computed twice is one of float32's rounding, not of TF32's.
    torch.backends.cudnn.allow_tf32 = False
    model.train()
    parameters = trained(model)
    device = parameters[0].device
    total: Tensor | None = None
    bound = clipping_norm * (1 - CLIPPING_MARGIN)
    with PATIENT_GRADIENTS[engine](model) as gradients:
        for together in _micro_batches(looks, rows_at_once):
            of_images = Owners.of_records([look.rows[:, 0] for look in together])
            of_rows = Owners.of_records([look.rows.ravel() for look in together])
            batch = batch_of(data, together, viewing, device)
            images_each = of_images.spread(of_images.rows_each).to(device)
            by_image = loss.rows(model, batch) / images_each
            part = gradients.clipped_sum(by_image.sum(), of_rows, bound)
            total = part if total is None else total.add_(part)
    if total is None:
        return torch.zeros(sum(parameter.numel() for parameter in parameters), device=device)
    return total


def noised_mean(total: Tensor, dp: DpConstants, random: Randomness) -> Tensor:
    """`(total + N(0, (sigma C)^2)) / expected_patients`, float32 of the shape of `total`.

    The deviation is tested by `tests/learning/test_dp.py::test_an_empty_draw_moves_the_model_by_the_noise`.
    """
    deviation = dp.noise_multiplier * dp.clipping_norm / dp.expected_patients
    noise = torch.from_numpy(random.normal(total.numel(), deviation)).to(total.device)
    return noise.add_(total, alpha=1 / dp.expected_patients)


def _micro_batches(looks: Sequence[Look], rows_at_once: int) -> Iterator[list[Look]]:
    together: list[Look] = []
    for look in looks:
        if together and sum(other.rows.size for other in together) + look.rows.size > rows_at_once:
            yield together
            together = []
        together.append(look)
    if together:
        yield together


def _set_gradients(model: ChestModel, gradient: Tensor) -> None:
    parameters = trained(model)
    pieces = torch.split(gradient, [parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)


def _require_finite(model: nn.Module, *, steps: int) -> None:
    """Whether parameters are finite is told by the released model itself, so saying it costs no privacy."""
    if not are_finite(model):
        raise TrainingError(
            f"The model's parameters are not finite after {steps} private steps: a finite model to start from and a "
            "lower learning_rate are needed."
        )
