"""A witness's own node, and the journal of the blocks that came out in it as the sequencer told them."""

from collections.abc import Sequence
from pathlib import Path

from web3 import Web3
from web3.types import BlockData

from fedchest.errors import StoreError
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.journal import BlockRecord
from fedchest.ledger.rebuild import rebuild
from fedchest.ledger.rpc import connect
from fedchest.ledger.witness.checkpoint import Checkpoint


class Replica:
    """A node that makes no block of its own, with its journal in `folder`.

    `agree` is the only way into the journal, and only ever appends: a height has one hash there for good.
    """

    def __init__(self, folder: Path, genesis: bytes, port: int | None = None) -> None:
        self._chain = LocalChain(folder, port=port, replica=True)
        self._hashes = [genesis]
        self._w3: Web3 | None = None

    @property
    def rpc_url(self) -> str:
        """Where the node answers."""
        return self._chain.rpc_url

    @property
    def height(self) -> int:
        """Number of the last block agreed with; 0 for the genesis block alone."""
        return len(self._hashes) - 1

    def checkpoint(self, height: int) -> Checkpoint:
        """A block agreed with. Raises IndexError above `height`."""
        return Checkpoint(self._hashes[0], height, self._hashes[height])

    def start(self) -> None:
        """Start the node where the journal ends, or bring it back there.

        Raises TamperError when the journal does not reproduce, StoreError when the genesis block is not the one that
        this node makes, ChainError when it does not start.
        """
        self._chain.stop()
        self._chain.start()
        self._w3 = connect(self.rpc_url)
        self._hashes[1:] = [record.hash for record in self._chain.journal.records()]
        if bytes(self._block(0)["hash"]) != self._hashes[0]:
            self.stop()
            raise StoreError(
                "The roster's genesis block is not the one that this Anvil makes: that chain can't be repeated here."
            )

    def stop(self) -> None:
        """End the node; what it repeated without agreement is forgotten."""
        self._chain.stop()

    def repeat(self, records: Sequence[BlockRecord], source: str) -> bytes:
        """Re-execute the blocks that follow; the root of the state after them, 32 bytes.

        Raises TamperError, naming block and source, when one does not come out with its hash.
        """
        if not self._chain.running or self._node().eth.block_number != self.height:
            self.start()  # an earlier attempt was broken off
        rebuild(self._node(), records, source)
        return bytes(self._block(self.height + len(records))["stateRoot"])

    def agree(self, records: Sequence[BlockRecord]) -> None:
        """Record, flushed, the blocks that were repeated."""
        self._chain.journal.append(records)
        self._hashes += [record.hash for record in records]

    def _block(self, height: int) -> BlockData:
        return self._node().eth.get_block(height)

    def _node(self) -> Web3:
        assert self._w3 is not None, "the replica was not started"
        return self._w3
