from collections.abc import Iterator

import pytest

from fedchest.ledger.chain import LocalChain


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    """One Anvil for all tests that only add contracts to it."""
    with LocalChain(tmp_path_factory.mktemp("chain")) as running:
        yield running
