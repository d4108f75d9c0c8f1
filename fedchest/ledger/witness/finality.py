"""Which block is final: by the witnesses' cosignatures, or by the word of a chain that has validators of its own."""

from typing import Protocol

from web3 import Web3

from fedchest.errors import ChainError
from fedchest.ledger.rpc import command
from fedchest.ledger.witness.board import Board
from fedchest.ledger.witness.checkpoint import Checkpoint
from fedchest.ledger.witness.tally import Tally


class Finality(Protocol):
    """What may be built on: a final block is never replaced."""

    def last(self) -> Checkpoint | None:
        """The last final block; None before the first. Raises ChainError."""


class CosignedFinality:
    """Final is what a quorum of the roster's members cosigned."""

    def __init__(self, board: Board, tally: Tally) -> None:
        self._board = board
        self._tally = tally

    def last(self) -> Checkpoint | None:
        """The last final block. Raises TamperError when two blocks of one height are, StoreError as the board."""
        self._tally.add(self._board.new())
        return self._tally.final()


class ChainFinality:
    """Final is what the node calls so (its `finalized` block): for chains whose validators agree by themselves.

    On Besu's QBFT every block is final at once; on proof of stake the last two epochs are not. The node is believed.
    """

    def __init__(self, w3: Web3) -> None:
        self._w3 = w3

    def last(self) -> Checkpoint | None:
        """The last final block. Raises ChainError when the node does not answer or knows of no finality."""
        first, final = (
            command(self._w3, "eth_getBlockByNumber", name, False) for name in ("0x0", "finalized")
        )
        if first is None or final is None:
            raise ChainError("The node knows no finalized block: its chain has no finality of its own.")
        height = int(final["number"], 16)
        genesis, block_hash = (bytes.fromhex(block["hash"][2:]) for block in (first, final))
        return Checkpoint(genesis, height, block_hash) if height else None
