"""The ways to get a sum of clipped per-patient gradients; they differ in speed and memory, not in the sum."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol

from torch import Tensor, nn

from fedchest.learning.bookkeeping import book_keeping
from fedchest.learning.opacus_hooks import opacus_hooks
from fedchest.learning.owners import Owners


class DpEngine(StrEnum):
    """Who computes the clipped gradients: our book-keeping, or Opacus's hooks as the reference."""

    BOOKKEEPING = "bookkeeping"
    OPACUS = "opacus"


class PatientGradients(Protocol):
    """Watches a model; asked right after a forward pass."""

    def clipped_sum(self, loss: Tensor, owners: Owners, bound: float) -> Tensor:
        """The sum of the patients' gradients, each clipped to the L2 norm `bound`: float32[parameters trained]."""


PATIENT_GRADIENTS: Mapping[DpEngine, Callable[[nn.Module], AbstractContextManager[PatientGradients]]] = {
    DpEngine.BOOKKEEPING: book_keeping,
    DpEngine.OPACUS: opacus_hooks,
}
