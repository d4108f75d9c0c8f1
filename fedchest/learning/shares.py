"""One parameter's share in the patients' gradients: their norms, and their sum once each patient's scale is known."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from fedchest.learning.owners import Owners

_RECOMPUTED_ROUNDING = 4
"""Units in the last place; scaling a position and multiplying it take two."""


class Share(Protocol):
    """P patients' gradients of one parameter, made or implied."""

    @property
    def parameter(self) -> Tensor:
        """The parameter that the gradients are of."""

    @property
    def squared_norms(self) -> Tensor:
        """Of each patient's gradient as `weighted_sum` takes it, or a little more: float32[P]."""

    def weighted_sum(self, scales: Tensor) -> Tensor:
        """The gradients, each times its scale of float32[P], added up: float32[parameter.numel()]."""

    def only(self, patients: Tensor) -> Self:
        """The patients that the mask bool[P] keeps."""


@dataclass(frozen=True)
class Kept:
    """Gradients float32[P,*parameter.shape] that were made, and are few enough to be kept."""

    parameter: Tensor
    by_patient: Tensor

    @property
    def squared_norms(self) -> Tensor:
        """As `Share` says."""
        return squared_norms(self.by_patient)

    def weighted_sum(self, scales: Tensor) -> Tensor:
        """As `Share` says."""
        return scales @ self.by_patient.flatten(1)

    def only(self, patients: Tensor) -> Self:
        """As `Share` says."""
        return replace(self, by_patient=self.by_patient[patients])


@dataclass(frozen=True)
class Recomputed:
    """Gradients that are not kept: `gradient` makes their sum from N rows' inputs and scaled output gradients."""

    parameter: Tensor
    squared_norms: Tensor
    inputs: Tensor
    gradients: Tensor
    owners: Owners
    gradient: Callable[[Tensor, Tensor], Tensor]

    def weighted_sum(self, scales: Tensor) -> Tensor:
        """As `Share` says."""
        by_row = self.owners.spread(scales).view(-1, *[1] * (self.gradients.dim() - 1))
        return self.gradient(self.inputs, self.gradients * by_row).flatten()

    def only(self, patients: Tensor) -> Self:
        """As `Share` says."""
        rows = patients[self.owners.of_rows]
        return replace(
            self,
            squared_norms=self.squared_norms[patients],
            inputs=self.inputs[rows],
            gradients=self.gradients[rows],
            owners=self.owners.only(patients),
        )


def squared_norms(by_patient: Tensor) -> Tensor:
    """Of values float32[P,...]: float32[P].

    In two stages: torch's norm adds squares up one after another, and over a whole matrix the rounding of that comes
    to more than clipping may be off by.
    """
    rows = by_patient.flatten(2).norm(dim=2) if by_patient.dim() > 2 else by_patient
    return rows.square().sum(1)


def squared_norms_recomputed(norms: Tensor, lengths: Tensor) -> Tensor:
    """The squares of `norms` float32[P] and of what the rounding of a sum that is computed anew can add to them.

    Scaling rounds each position by itself, so where positions cancel the error is as large as they are. `lengths`,
    float32[P], is at least the sum over a patient's positions of |input| |gradient|.
    """
    return (norms + _RECOMPUTED_ROUNDING * torch.finfo(norms.dtype).eps * lengths).square()
