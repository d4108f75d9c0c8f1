"""Finality by cosignatures and by a chain's own word, through one interface."""

from pathlib import Path

import pytest
from consortium import GENESIS, roster_of, signed, wallets

from fedchest.errors import ChainError, StoreError
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.rpc import command, connect
from fedchest.ledger.witness.board import Board
from fedchest.ledger.witness.finality import ChainFinality, CosignedFinality, Finality
from fedchest.ledger.witness.tally import Tally


def test_cosignatures_are_counted_as_they_arrive(tmp_path: Path) -> None:
    members = wallets(tmp_path, 4)
    board = Board(tmp_path / "board", 31337)
    finality: Finality = CosignedFinality(Board(tmp_path / "board", 31337), Tally(roster_of(members)))
    with pytest.raises(StoreError, match="no folder"):
        finality.last()
    board.create()
    for count, member in enumerate(members, start=1):
        board.publish(member.address, [signed(member, 1, b"a")])
        assert (finality.last() is not None) == (count >= 3)


@pytest.mark.e2e
def test_a_chains_own_finality_is_its_finalized_block(tmp_path: Path) -> None:
    """Anvil, as Ethereum, calls final what lies two epochs of 32 blocks back."""
    with LocalChain(tmp_path) as chain:
        w3 = connect(chain.rpc_url)
        finality: Finality = ChainFinality(w3)
        assert finality.last() is None
        command(w3, "anvil_mine", hex(70))
        last = finality.last()
        assert last is not None
        assert (last.genesis, last.height) == (GENESIS, 6)
        assert last.block_hash == w3.eth.get_block(6)["hash"]
        at_once = ChainFinality(w3, at_once=True).last()
        assert at_once is not None and at_once.height == 70


@pytest.mark.e2e
def test_a_node_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    with LocalChain(tmp_path) as chain:
        finality = ChainFinality(connect(chain.rpc_url))
    with pytest.raises(ChainError, match="No Ethereum node answers"):
        finality.last()
