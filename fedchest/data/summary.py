"""What a cohort holds, counted, and a sheet of some of its images."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedchest.data.cohort import Cohort, distinct_patients
from fedchest.data.images import decode
from fedchest.data.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN, UNKNOWN


@dataclass(frozen=True)
class LabelCounts:
    """In how many images a label has each value."""

    positive: int
    negative: int
    uncertain: int
    blank: int
    unknown: int


@dataclass(frozen=True)
class CohortSummary:
    """Counts of one cohort; `views` and `labels` are by name."""

    patients: int
    images: int
    views: dict[str, int]
    labels: dict[str, LabelCounts]


def summarise(cohort: Cohort) -> CohortSummary:
    """Count patients, images, views and label values. Exact counts: they stay with whoever owns the cohort."""
    return CohortSummary(
        patients=len(distinct_patients(cohort)),
        images=len(cohort),
        views=dict(sorted(Counter(cohort.views).items())),
        labels={name: _count(cohort.labels[:, column]) for column, name in enumerate(OBSERVATIONS)},
    )


def contact_sheet(cohorts: tuple[Cohort, ...], *, images: int, size: int, seed: int) -> npt.NDArray[np.uint8]:
    """One row per cohort of `images` random images at `size` pixels, uint8[rows * size, images * size].

    A cohort with fewer images leaves its row's end black. Raises DataError for an image that can't be decoded.
    """
    sheet = np.zeros((len(cohorts) * size, images * size), dtype=np.uint8)
    for number, cohort in enumerate(cohorts):
        chosen = np.random.default_rng([seed, number]).permutation(len(cohort))[:images]
        for column, row in enumerate(chosen):
            tile = decode(cohort.root / cohort.paths[row], size)
            sheet[number * size : (number + 1) * size, column * size : (column + 1) * size] = tile
    return sheet


def _count(column: npt.NDArray[np.int8]) -> LabelCounts:
    values = (POSITIVE, NEGATIVE, UNCERTAIN, BLANK, UNKNOWN)
    return LabelCounts(*(int((column == value).sum()) for value in values))
