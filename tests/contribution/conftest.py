"""Federations whose credits follow contribution, on a cohort with enough public patients to measure it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from small_federation import SmallFederation, founded, small_settings

from fedchest.data.phantom.writer import write_phantom_cohort

MakeScored = Callable[..., SmallFederation]


@pytest.fixture(scope="session")
def measured_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered tree of 60 patients at 4 sites and 40 public ones, 32 pixels; tests must not write to it."""
    root = tmp_path_factory.mktemp("measured")
    write_phantom_cohort(root, patients=60, validation_patients=40, size=32, seed=2, sites=4)
    return root


@pytest.fixture
def make_scored(measured_cohort: Path, image_cache: Path, tmp_path: Path) -> Iterator[MakeScored]:
    """Founds a small federation of 4 hospitals whose credits follow contribution; arguments are sections."""
    with ExitStack() as chains:

        def make(**sections: Mapping[str, Any]) -> SmallFederation:
            rewards = {"rule": "contribution", "resamples": 20, **sections.pop("rewards", {})}
            training = {"steps": 4, "learning_rate": 0.01, **sections.pop("training", {})}
            merged = {**sections, "rewards": rewards, "training": training}
            settings = small_settings(measured_cohort, tmp_path / "run", image_cache, merged)
            return chains.enter_context(founded(settings))

        yield make
