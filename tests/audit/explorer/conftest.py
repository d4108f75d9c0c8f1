"""Indexes for the explorer to show, and the explorer as a browser's requests reach it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from explorer_support import ADDRESS
from starlette.testclient import TestClient
from studies import StudyOnChain

from benchmarks.synthetic import SyntheticLedger
from fedchest.audit.index import EventIndex
from fedchest.reporting.explorer.app import explorer
from fedchest.reporting.explorer.concealing import concealing
from fedchest.reporting.explorer.verification import Verification

Browse = Callable[..., TestClient]


@pytest.fixture(scope="session")
def played_index(played: StudyOnChain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a study whose chain holds every event and every outcome of a round."""
    path = tmp_path_factory.mktemp("played-index") / "trail.sqlite"
    with EventIndex(path, played.coordinator) as building:
        building.sync()
    return path


@pytest.fixture(scope="session")
def long_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a study of 120 rounds and 100 institutions: several pages of everything."""
    path = tmp_path_factory.mktemp("long-index") / "trail.sqlite"
    with EventIndex(path, SyntheticLedger(120)) as building:
        building.sync()
    return path


@pytest.fixture
def browse() -> Browse:
    """A client of the explorer over an index, as if it were served at ADDRESS."""

    def open_explorer(index: Path, verification: Verification | None = None) -> TestClient:
        return TestClient(explorer(index, verification, concealing({})), base_url=ADDRESS)

    return open_explorer
