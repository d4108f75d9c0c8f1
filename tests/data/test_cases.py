"""Cases of a finding: patients of the cohort that the seed would give, with and without it."""

from pathlib import Path

import numpy as np
import pytest

from fedchest.data.chexpert import read_chexpert
from fedchest.data.images import decode
from fedchest.data.labels import POSITIVE, column_of
from fedchest.data.phantom.cases import draw_cases
from fedchest.data.phantom.reports import DRAWN
from fedchest.data.phantom.writer import read_masks
from fedchest.errors import ConfigError


@pytest.mark.parametrize("label", DRAWN)
def test_every_finding_has_as_many_cases_as_asked_for(label: str) -> None:
    cases = draw_cases(label, 3, size=32, seed=8)
    assert len(cases) == 3
    for case in cases:
        assert case.image.shape == case.without.shape == case.mask.shape == (32, 32)
        change = np.abs(case.image.astype(int) - case.without)
        assert change[case.mask].mean() > 3 * change[~case.mask].mean()
    assert len({case.image.tobytes() for case in cases}) == 3


def test_cases_are_the_rendered_cohorts_own_images(rendered: Path) -> None:
    """The images of the tree with that seed, in its order, and their masks."""
    train = read_chexpert(rendered, "train", views="frontal")
    positive = [
        train.root / path
        for path, labels in zip(train.paths, train.labels, strict=True)
        if "/study1/" in path and labels[column_of("Pleural Effusion")] == POSITIVE
    ]
    cases = draw_cases("Pleural Effusion", len(positive), size=64, seed=3, sites=3)
    for path, case in zip(positive, cases, strict=True):
        assert (case.image == decode(path, 64)).all()
        assert (case.mask == read_masks(path)["Pleural Effusion"]).all()


def test_what_is_not_drawn_has_no_cases() -> None:
    with pytest.raises(ConfigError, match="'No Finding' is no finding that is drawn"):
        draw_cases("No Finding", 1, size=32, seed=1)
