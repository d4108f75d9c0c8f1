from collections.abc import Iterator
from pathlib import Path

import pytest
from studies import StudyOnChain

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
