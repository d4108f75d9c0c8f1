"""Losses by name, and which of them one patient's record can change by a bounded amount only.

DP-SGD clips each patient's gradient. That bounds a patient's influence only if the loss is a sum of terms
that each read one patient's record, public data and released parameters; a loss that compares the patients of
a batch changes other patients' terms too (for NT-Xent at batch 64, by up to twelve times the clipping norm).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fedchest.errors import ConfigError, UnboundedLossError
from fedchest.models.chest import Output

SUPCON_TEMPERATURE = 0.2

# At full weight the contrast cost the demo 0.03 AUROC, at a quarter nothing (README, "What the demo shows").
PROTOTYPE_WEIGHT = 0.25


@dataclass(frozen=True)
class Objective:
    """A loss: `rows(output, targets, mask)` gives one non-negative value per image, float32[N].

    `targets` is float32[N,L] in [0,1], `mask` bool[N,L] with False where a label is to be ignored.
    `coupling` is empty when each value is a function of its own row only; otherwise it says what is mixed.
    """

    name: str
    rows: Callable[[Output, Tensor, Tensor], Tensor]
    coupling: str = ""


def masked_bce(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of logits float32[N,L] summed over the unmasked labels, over L: float32[N]."""
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (losses * mask).mean(1)


def _bce(output: Output, targets: Tensor, mask: Tensor) -> Tensor:
    return masked_bce(output.logits, targets, mask)


def _bce_and_prototypes(output: Output, targets: Tensor, mask: Tensor) -> Tensor:
    """BCE plus the contrast of the embedding with each label's two prototypes.

    The prototypes are parameters, not other patients: the proxies of Proxy-NCA (Movshovitz-Attias et al.
    2017), a pair for each label.
    """
    contrast = masked_bce(output.prototype_logits, targets, mask)
    return masked_bce(output.logits, targets, mask) + PROTOTYPE_WEIGHT * contrast


def _bce_and_supcon(output: Output, targets: Tensor, mask: Tensor) -> Tensor:
    """BCE plus supervised contrast (Khosla et al. 2020, eq. 2), weighted by shared labels."""
    positives = targets * mask
    overlap = positives @ positives.T / (positives.sum(1)[:, None] + positives.sum(1)[None] + 1e-6)
    itself = torch.eye(len(targets), dtype=torch.bool)
    overlap = overlap.masked_fill(itself, 0.0)
    similarity = (output.embedding @ output.embedding.T / SUPCON_TEMPERATURE).masked_fill(itself, -1e9)
    log_share = similarity.log_softmax(1)
    contrast = -(overlap * log_share).sum(1) / overlap.sum(1).clamp(min=1e-6)
    return masked_bce(output.logits, targets, mask) + contrast * (overlap.sum(1) > 0)


OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("bce", _bce),
        Objective("bce+prototypes", _bce_and_prototypes),
        Objective("bce+supcon", _bce_and_supcon, coupling="it compares every pair of images in the batch"),
    )
}

# What users ask for by name and that can't be had with DP on, each with what couples patients.
_UNBOUNDED: Mapping[str, str] = {
    "nt-xent": "every other image of the batch is a negative",
    "supcon": "it compares every pair of images in the batch",
    "moco": "its queue holds other patients' embeddings",
    "vicreg": "its variance and covariance terms are statistics of the batch",
    "barlow-twins": "its cross-correlation is a statistic of the batch",
    "swav": "its assignments balance the whole batch",
    "dino": "its centring is a running mean over patients",
    "auc-margin": "its margin compares positive with negative patients",
    "mixup": "it blends the images of two patients",
}
_NEAREST = "bce+prototypes"


def objective_named(name: str, *, private: bool) -> Objective:
    """The objective `name`; with `private` only one that bounds a patient's contribution.

    Raises UnboundedLossError, with the reason and the nearest admissible objective, for a loss that couples
    patients while `private`; ConfigError for a name that is not offered. The bound itself is tested in
    `tests/learning/test_dp.py` by `test_removing_a_patient_changes_the_clipped_sum_by_at_most_the_norm`.
    """
    key = name.lower()
    objective = OBJECTIVES.get(key)
    coupling = objective.coupling if objective else _UNBOUNDED.get(key, "")
    if private and coupling:
        raise UnboundedLossError(
            f"objective {name!r} can't be used with DP on: {coupling}, so clipping one patient's gradient does "
            f"not bound that patient's influence; use {_NEAREST!r}."
        )
    if objective is None:
        raise ConfigError(f"objective {name!r} is not one of {', '.join(OBJECTIVES)}.")
    return objective
