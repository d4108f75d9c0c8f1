"""A cohort: the images of some patients and what their reports say, not yet decoded."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedchest.data.labels import UNKNOWN
from fedchest.errors import DataError

FRONTAL_AP, FRONTAL_PA, FRONTAL, LATERAL = "frontal-AP", "frontal-PA", "frontal", "lateral"
"""The views; plain "frontal" is CheXpert's 17 frontal rows whose projection is neither AP nor PA."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """N images in the order of their table.

    `paths` are relative to `root`; `patients` are CheXpert's folder names ("patient00001"); `labels` is
    int8[N, 14] of 1, 0, -1, -2, -3 in the order of OBSERVATIONS; `ages` is int16[N] in years.
    """

    root: Path
    paths: tuple[str, ...]
    patients: tuple[str, ...]
    labels: npt.NDArray[np.int8]
    views: tuple[str, ...]
    sexes: tuple[str, ...]
    ages: npt.NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> "Cohort":
        """The cohort of the given rows, in the given order."""
        chosen = np.asarray(rows, dtype=np.int64)
        return Cohort(
            root=self.root,
            paths=tuple(self.paths[row] for row in chosen),
            patients=tuple(self.patients[row] for row in chosen),
            labels=self.labels[chosen],
            views=tuple(self.views[row] for row in chosen),
            sexes=tuple(self.sexes[row] for row in chosen),
            ages=self.ages[chosen],
        )

    def select_patients(self, patients: Sequence[str]) -> "Cohort":
        """The cohort of all images of the given patients, in this cohort's order."""
        wanted = set(patients)
        return self.select([row for row, patient in enumerate(self.patients) if patient in wanted])


def distinct_patients(cohort: Cohort) -> tuple[str, ...]:
    """The cohort's patients, each once, in order of first appearance."""
    return tuple(dict.fromkeys(cohort.patients))


def hide_labels(cohort: Cohort, patients: Collection[str]) -> Cohort:
    """`cohort` with every label of the given patients UNKNOWN, as in a hospital that labelled none of theirs."""
    hidden = np.isin(cohort.patients, list(patients))
    return replace(cohort, labels=np.where(hidden[:, None], np.int8(UNKNOWN), cohort.labels))


def refuse_shared_patients(first: Cohort, second: Cohort) -> None:
    """Raise DataError when a patient is in both cohorts.

    Held by tests/data/test_cohort.py::test_a_patient_in_both_cohorts_is_refused.
    """
    shared = sorted(set(first.patients) & set(second.patients))
    if shared:
        raise DataError(
            f"{shared[0]} is in two cohorts that must be disjoint ({len(shared)} shared patients in all)."
        )
