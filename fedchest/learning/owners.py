"""Which patient each row of a batch belongs to, and what follows from it for row-wise values."""

from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Owners:
    """Rows of a batch and their patients: `of_rows` is int64[N] with values below `patients`, ascending."""

    def __init__(self, of_rows: Tensor, patients: int) -> None:
        self.of_rows = of_rows
        self.patients = patients

    @classmethod
    def of_records(cls, records: Sequence[npt.NDArray[np.int64]]) -> Self:
        """The owners of the concatenated rows of `records`, one record a patient, none empty."""
        lengths = [len(record) for record in records]
        return cls(torch.from_numpy(np.repeat(np.arange(len(records)), lengths)), len(records))

    def to(self, device: torch.device) -> "Owners":
        """The same on `device`, which must be that of the values it is used with."""
        return self if self.of_rows.device == device else Owners(self.of_rows.to(device), self.patients)

    @cached_property
    def rows_each(self) -> Tensor:
        """How many rows each patient has, int64[P]."""
        return torch.bincount(self.of_rows, minlength=self.patients)

    @cached_property
    def most(self) -> int:
        """The most rows that one patient has."""
        return int(self.rows_each.max()) if self.patients else 0

    def sum(self, by_row: Tensor) -> Tensor:
        """Values [N,...] added up by patient: [P,...]."""
        if len(by_row) == self.patients and self.most == 1:
            return by_row
        return by_row.new_zeros(self.patients, *by_row.shape[1:]).index_add_(0, self.of_rows, by_row)

    def spread(self, by_patient: Tensor) -> Tensor:
        """Values [P,...] repeated for each of the patient's rows: [N,...]."""
        return by_patient[self.of_rows]

    def stack(self, by_row: Tensor) -> Tensor:
        """A patient's rows [N,C,T] side by side, filled up with zeros: [P,C,most*T]."""
        if self.most == 1:
            return by_row
        width, positions = by_row.shape[1:]
        stacked = by_row.new_zeros(self.patients, self.most, width, positions)
        stacked[self.of_rows, self._place] = by_row
        return stacked.transpose(1, 2).reshape(self.patients, width, self.most * positions)

    def only(self, kept: Tensor) -> "Owners":
        """Without the patients that the mask bool[P] leaves out; the others are numbered anew."""
        numbers = kept.cumsum(0) - 1
        return Owners(numbers[self.of_rows[kept[self.of_rows]]], int(kept.sum()))

    @cached_property
    def _place(self) -> Tensor:
        """The how-manieth of its patient's rows each row is, int64[N]."""
        firsts = self.rows_each.cumsum(0) - self.rows_each
        return torch.arange(len(self.of_rows), device=firsts.device) - firsts[self.of_rows]
