"""Patients who have a given finding, each with the same shot without it and the place where it is."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np
import numpy.typing as npt

from fedchest.data.cohort import LATERAL
from fedchest.data.phantom.patients import MOST_STUDIES, images_of
from fedchest.data.phantom.render import Shot, render
from fedchest.data.phantom.reports import DRAWN
from fedchest.errors import ConfigError

_CLEAR = 0.4
"""The least severity that a report affirms."""


@dataclass(frozen=True, eq=False)
class Case:
    """One frontal image with a finding, uint8[N, N], its counterfactual, and the finding's mask, bool[N, N]."""

    image: npt.NDArray[np.uint8]
    without: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


def draw_cases(label: str, number: int, *, size: int, seed: int, sites: int = 4) -> list[Case]:
    """The first `number` patients of a rendered cohort in whose first frontal image `label` is clearly there.

    Nothing is written; patients, findings beside `label`, and looks are those of `write_phantom_cohort` with the same
    `seed` and `sites`, so take a seed that no training set was rendered from. Raises ConfigError for an observation
    that is not drawn, such as No Finding.
    """
    if label not in DRAWN:
        raise ConfigError(f"{label!r} is no finding that is drawn; drawn are {', '.join(DRAWN)}.")
    return list(islice(_cases(label, size, seed, sites), number))


def _cases(label: str, size: int, seed: int, sites: int) -> Iterator[Case]:
    for patient in count(1):
        images = images_of(patient, "train", seed=seed, sites=sites, size=size, most_studies=MOST_STUDIES)
        shot = next(image.shot for image in images if image.shot.view != LATERAL)
        if shot.findings.get(label, 0.0) >= _CLEAR:
            case = _case(label, shot)
            if case.mask.any():
                yield case


def _case(label: str, shot: Shot) -> Case:
    others = {name: severity for name, severity in shot.findings.items() if name != label}
    rendering = render(shot)
    without = render(replace(shot, findings=others))
    return Case(rendering.pixels, without.pixels, rendering.masks()[label])
