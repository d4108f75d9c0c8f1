"""What several areas' tests share: quiet frameworks, one rendered cohort, small federations on real chains."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from small_federation import SmallFederation, founded, small_settings

from fedchest.data.phantom.writer import write_phantom_cohort
from fedchest.federation.config import Settings

torch.set_num_threads(1)
# A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

MakeSettings = Callable[..., Settings]
MakeFederation = Callable[..., SmallFederation]


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered CheXpert tree of 80 patients at 4 sites, 32 pixels; tests must not write to it."""
    root = tmp_path_factory.mktemp("cohort")
    write_phantom_cohort(root, patients=80, validation_patients=4, size=32, seed=1, sites=4)
    return root


@pytest.fixture(scope="session")
def image_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all small federations keep the decoded images."""
    return tmp_path_factory.mktemp("image-cache")


@pytest.fixture
def make_settings(cohort_folder: Path, image_cache: Path, tmp_path: Path) -> MakeSettings:
    """Settings of a small run below the test's folder; arguments are sections: `training={"rounds": 2}`."""

    def make(**sections: Mapping[str, Any]) -> Settings:
        return small_settings(cohort_folder, tmp_path / "run", image_cache, sections)

    return make


@pytest.fixture
def make_federation(make_settings: MakeSettings) -> Iterator[MakeFederation]:
    """Prepares and founds a small run with a chain of its own, which ends with the test."""
    with ExitStack() as chains:

        def make(**sections: Mapping[str, Any]) -> SmallFederation:
            return chains.enter_context(founded(make_settings(**sections)))

        yield make
