"""The sequencer's chain as a witness reads it: whatever it says is to be held against the witness's own node."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from eth_utils.crypto import keccak
from web3 import Web3

from fedchest.errors import TamperError
from fedchest.ledger.journal import BlockRecord, block_records
from fedchest.ledger.rpc import command, commands, connect
from fedchest.ledger.witness.checkpoint import Checkpoint

_AT_ONCE = 256
_LOOKS, _BETWEEN_LOOKS_SECONDS = 5, 0.05
_ANY_ACCOUNT = "0x" + 40 * "0"


@dataclass(frozen=True)
class Reading:
    """Blocks that follow a witness's last one; `head` is the height of the sequencer's chain.

    `state_root` is the root of the state that the node serves at the last of them, or at the witness's last one
    where there are none; None where that is not the head.
    """

    records: Sequence[BlockRecord]
    head: int
    state_root: bytes | None


class Sequencer:
    """The node that makes the blocks, found at `rpc_url`; it may be unreachable until it is read."""

    def __init__(self, rpc_url: str) -> None:
        self.rpc_url = rpc_url
        self._w3: Web3 | None = None

    def read_on(self, last: Checkpoint, final: Checkpoint | None) -> Reading:
        """The blocks after `last` (height 0: the genesis block), a few hundred at most.

        Raises ChainError when the node does not answer, TamperError when it does not have `last`, or ends before the
        block that was `final` by then, or a block holds a transaction that nobody signed.
        """
        if self._w3 is None:
            self._w3 = connect(self.rpc_url)
        head = self._head_after(self._w3, last)
        if final is not None and head < final.height:
            raise TamperError(
                f"The chain at {self.rpc_url} was rolled back or begun anew: it ends at block {head}, and {final} "
                "is final."
            )
        end = min(head, last.height + _AT_ONCE)
        records = block_records(self._w3, range(last.height + 1, end + 1))
        root = _served_state_root(self._w3, head) if end == head > 0 else None
        return Reading(records, head, root)

    def serves(self, height: int, state_root: bytes) -> bool:
        """Whether the node answers at `height` from the state of that root.

        Asked a few times: a node that makes a block meanwhile may answer from the state in between, an edit stays.
        """
        assert self._w3 is not None, "the sequencer was not read"
        for _ in range(_LOOKS):
            if _served_state_root(self._w3, height) == state_root:
                return True
            time.sleep(_BETWEEN_LOOKS_SECONDS)
        return False

    def _head_after(self, w3: Web3, last: Checkpoint) -> int:
        asked = [(hex(0), False), (hex(last.height), False), ("latest", False)]
        genesis, known, latest = commands(w3, "eth_getBlockByNumber", asked)
        if genesis is None or bytes.fromhex(genesis["hash"][2:]) != last.genesis:
            raise TamperError(f"The chain at {self.rpc_url} does not begin with the roster's genesis block.")
        if known is None:
            raise TamperError(
                f"The chain at {self.rpc_url} was rolled back or begun anew: block {last.height} is missing."
            )
        if bytes.fromhex(known["hash"][2:]) != last.block_hash:
            raise TamperError(
                f"The chain at {self.rpc_url} was rolled back or begun anew: block {last.height} is another."
            )
        return int(latest["number"], 16)


def _served_state_root(w3: Web3, height: int) -> bytes:
    """Root of the state from which the node answers at `height`, whatever the block's header says it is.

    Every proof begins with the root's node, so that one for any account tells.
    """
    proof = command(w3, "eth_getProof", _ANY_ACCOUNT, [], hex(height))["accountProof"]
    return keccak(hexstr=proof[0]) if proof else keccak(b"\x80")
