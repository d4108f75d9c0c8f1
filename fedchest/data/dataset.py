"""What training reads: pixels, targets, mask, and which rows belong to which patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fedchest.data.cache import Progress, cached_images
from fedchest.data.cohort import Cohort
from fedchest.data.labels import UncertaintyPolicy, targets


class Images(Protocol):
    """Images of uint8[H, W] in order: an array uint8[N, H, W], or what reads such rows from disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]: ...


@dataclass(frozen=True, eq=False)
class ChestDataset:
    """N decoded images with L targets each.

    `images` are uint8[N, H, W], mostly on disk; `targets` float32[N, L] in [0, 1]; `mask` bool[N, L],
    False where a label is left out of the loss; `patients` int64[N], dense numbers 0..P-1; `uncertain`
    bool[N, L], True where a label that `mask` leaves out is uncertain and kept apart; None when no label is.
    """

    images: Images
    targets: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    patients: npt.NDArray[np.int64]
    label_names: tuple[str, ...]
    uncertain: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def patient_count(self) -> int:
        return len(self._rows_by_patient)

    def rows_of(self, patient: int) -> npt.NDArray[np.int64]:
        """The rows of one patient, ascending, int64."""
        return self._rows_by_patient[patient]

    @cached_property
    def _rows_by_patient(self) -> tuple[npt.NDArray[np.int64], ...]:
        order = np.argsort(self.patients, kind="stable").astype(np.int64)
        ends = np.cumsum(np.bincount(self.patients))
        return tuple(np.split(order, ends[:-1]))


def load_dataset(
    cohort: Cohort,
    *,
    size: int,
    cache_dir: Path,
    label_names: Sequence[str],
    policies: Mapping[str, UncertaintyPolicy],
    progress: Progress | None = None,
) -> ChestDataset:
    """The cohort's images at `size` pixels, through the cache in `cache_dir`, with the targets of
    `label_names`.

    Raises DataError for an image that can't be decoded and ConfigError for an unknown label.
    """
    values, mask, uncertain = targets(cohort.labels, label_names, policies)
    return ChestDataset(
        images=cached_images(cohort, size, cache_dir, progress=progress),
        targets=values,
        mask=mask,
        patients=patient_numbers(cohort),
        label_names=tuple(label_names),
        uncertain=uncertain,
    )


def patient_numbers(cohort: Cohort) -> npt.NDArray[np.int64]:
    """Each row's patient, int64[N], numbered from 0 in the order of the patients' first rows."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(patient, len(numbers)) for patient in cohort.patients], np.int64)
