from collections.abc import Iterator
from pathlib import Path

import pytest
from studies import MakeStudy, StudyInFile, StudyOnChain

from fedchest.ledger.chain import LocalChain


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    """One Anvil for all tests that do no more than add contracts to it."""
    with LocalChain(tmp_path_factory.mktemp("chain")) as running:
        yield running


@pytest.fixture
def study(chain: LocalChain, tmp_path: Path) -> StudyOnChain:
    """A fresh study of four registered institutions."""
    return StudyOnChain(chain.rpc_url, tmp_path)


@pytest.fixture(params=["chain", "file"])
def make_study(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStudy:
    """Makes a study on each kind of ledger: a test that asks for it is of the conformance suite."""
    if request.param == "file":
        return lambda **options: StudyInFile(tmp_path, **options)
    chain: LocalChain = request.getfixturevalue("chain")
    return lambda **options: StudyOnChain(chain.rpc_url, tmp_path, **options)
