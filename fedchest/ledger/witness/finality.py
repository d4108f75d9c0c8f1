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
    """Final is what the node says, for chains whose validators agree among themselves; the node is believed.

    The `finalized` block, as on proof of stake; or the last, where blocks are final `at_once`, as under QBFT and IBFT.
    """

    def __init__(self, w3: Web3, *, at_once: bool = False) -> None:
        self._w3 = w3
        self._name = "latest" if at_once else "finalized"

    def last(self) -> Checkpoint | None:
        """The last final block. Raises ChainError when the node does not answer or knows of no finality."""
        first, final = (
            command(self._w3, "eth_getBlockByNumber", name, False) for name in ("0x0", self._name)
        )
        if first is None or final is None:
            raise ChainError(f"The node knows no {self._name} block: its chain has no such finality.")
        height = int(final["number"], 16)
        genesis, block_hash = (bytes.fromhex(block["hash"][2:]) for block in (first, final))
        return Checkpoint(genesis, height, block_hash) if height else None
