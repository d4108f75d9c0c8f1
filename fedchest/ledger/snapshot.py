"""The contract's storage in one block of a node's chain, and what proves it to others."""

from collections.abc import Mapping
from typing import Any

import rlp
from eth_utils.crypto import keccak
from web3 import Web3

from fedchest.errors import ChainError
from fedchest.ledger.rpc import command, connect

# In the order of a header; a block has those of its fork.
_BYTES = "bytes"
_NUMBER = "number"
_HEADER = {
    "parentHash": _BYTES,
    "sha3Uncles": _BYTES,
    "miner": _BYTES,
    "stateRoot": _BYTES,
    "transactionsRoot": _BYTES,
    "receiptsRoot": _BYTES,
    "logsBloom": _BYTES,
    "difficulty": _NUMBER,
    "number": _NUMBER,
    "gasLimit": _NUMBER,
    "gasUsed": _NUMBER,
    "timestamp": _NUMBER,
    "extraData": _BYTES,
    "mixHash": _BYTES,
    "nonce": _BYTES,
    "baseFeePerGas": _NUMBER,
    "withdrawalsRoot": _BYTES,
    "blobGasUsed": _NUMBER,
    "excessBlobGas": _NUMBER,
    "parentBeaconBlockRoot": _BYTES,
    "requestsHash": _BYTES,
}


class Snapshot:
    """A contract's storage in one block (default: the last). Remembers which words were read.

    `header` is the block's header in RLP. Raises ChainError when the node does not have the block, no longer has
    its state, or gives a header that does not hash to the block's hash.
    """

    def __init__(self, w3: Web3, address: str, block: int | None = None) -> None:
        self._w3 = w3
        self._address = address
        self._read: set[int] = set()
        found = command(w3, "eth_getBlockByNumber", "latest" if block is None else hex(block), False)
        if found is None:
            raise ChainError(f"The chain has no block {block}.")
        self.header = _checked_header(found)
        self._block = found["number"]

    def word(self, slot: int) -> int:
        """The word in a slot of the contract's storage."""
        self._read.add(slot)
        return int(command(self._w3, "eth_getStorageAt", self._address, _slot(slot), self._block), 16)

    def nodes(self) -> list[bytes]:
        """The trie nodes, each once, that lead from the header to every word that was read."""
        slots = [_slot(slot) for slot in sorted(self._read)]
        answer = command(self._w3, "eth_getProof", self._address, slots, self._block)
        paths = [answer["accountProof"], *(entry["proof"] for entry in answer["storageProof"])]
        return list(dict.fromkeys(bytes.fromhex(node[2:]) for path in paths for node in path))


def block_hash(rpc_url: str, number: int) -> bytes | None:
    """Hash of a block of the node's chain; None when it has no such block. Raises ChainError."""
    block = command(connect(rpc_url), "eth_getBlockByNumber", hex(number), False)
    return None if block is None else bytes.fromhex(block["hash"][2:])


def encoded_header(block: Mapping[str, Any]) -> bytes:
    """The header (RLP) of a block as a node tells it, in JSON."""
    return bytes(rlp.encode([_field(kind, block[name]) for name, kind in _HEADER.items() if name in block]))


def _checked_header(block: Mapping[str, Any]) -> bytes:
    encoded = encoded_header(block)
    if "0x" + keccak(encoded).hex() != block["hash"]:
        raise ChainError(
            f"Block {int(block['number'], 16)} does not hash to {block['hash']}: its header is of a fork that "
            "FedChest does not know, or the node gives a wrong one."
        )
    return encoded


def _field(kind: str, text: str) -> int | bytes:
    return int(text, 16) if kind == _NUMBER else bytes.fromhex(text[2:])


def _slot(slot: int) -> str:
    return f"0x{slot:064x}"
