"""Ethereum's state as a block header proves it: from trie nodes alone, without a node to ask."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import rlp
from eth_utils.crypto import keccak
from rlp.exceptions import RLPException
from trie.exceptions import InvalidNibbles, InvalidNode, MissingTrieNode, ValidationError
from trie.hexary import HexaryTrie

from fedchest.errors import ProofError
from fedchest.ledger.artifact import artifact

_STATE_ROOT, _NUMBER, _TIMESTAMP = 3, 8, 11
_OLDEST_FIELDS = 15  # of a header; later forks append theirs
_WORD = 32
_SMALL = 8
_ACCOUNT_FIELDS = 4
# What the trie's reader raises for nodes that are none: only a header made for the purpose leads to such.
_MALFORMED = (
    InvalidNibbles,
    InvalidNode,
    ValidationError,
    RLPException,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    RecursionError,
)


@dataclass(frozen=True)
class Header:
    """What a proof needs of a block: `hash` and `state_root` are 32 bytes, `timestamp` is in seconds."""

    hash: bytes
    number: int
    timestamp: int
    state_root: bytes

    @classmethod
    def from_bytes(cls, encoded: bytes) -> "Header":
        """Read a header's RLP, of whatever fork. Raises ProofError when it is none."""
        fields = _decoded(encoded)
        if not isinstance(fields, list) or len(fields) < _OLDEST_FIELDS:
            raise ProofError("The block header in the proof is not one.")
        root, number, timestamp = fields[_STATE_ROOT], fields[_NUMBER], fields[_TIMESTAMP]
        sizes_fit = all(isinstance(field, bytes) for field in (root, number, timestamp)) and (
            len(root) == _WORD and len(number) <= _SMALL and len(timestamp) <= _SMALL
        )
        if not sizes_fit:
            raise ProofError("The block header in the proof is not one.")
        return cls(keccak(encoded), int.from_bytes(number), int.from_bytes(timestamp), root)


class ProvenStorage:
    """A ledger's storage in the block of a header, as far as the nodes reach.

    Raises ProofError, here and at each word, when the nodes don't lead there from the header, and here when the
    contract's code is not the shipped one.
    """

    def __init__(self, header: Header, contract: bytes, nodes: Iterable[bytes]) -> None:
        self._nodes = {keccak(node): node for node in nodes}
        account = _decoded(self._value(header.state_root, contract))
        if not isinstance(account, list) or len(account) != _ACCOUNT_FIELDS:
            raise ProofError(f"There is no contract at 0x{contract.hex()} in block {header.number}.")
        _, _, self._root, code_hash = account
        if code_hash != keccak(artifact().deployed_bytecode):
            raise ProofError(
                f"The contract at 0x{contract.hex()} is not the ledger that this version of FedChest ships."
            )

    def word(self, slot: int) -> int:
        """The word in a slot."""
        value = self._value(self._root, slot.to_bytes(_WORD))
        if not value:
            return 0
        word = _decoded(value)
        if not isinstance(word, bytes) or len(word) > _WORD:
            raise _malformed()
        return int.from_bytes(word)

    def _value(self, root: bytes, key: bytes) -> bytes:
        """The value at `key`, hashed as Ethereum does; empty where the trie holds none."""
        try:
            return bytes(HexaryTrie(self._nodes, root).get(keccak(key)))
        except MissingTrieNode:
            raise ProofError("The proof is incomplete: the header does not lead to what it claims.") from None
        except _MALFORMED:
            raise _malformed() from None


def _decoded(encoded: bytes) -> Any:
    """RLP as bytes and lists; b"" for what is none."""
    try:
        return rlp.decode(encoded) if encoded else b""
    except (RLPException, RecursionError):
        return b""


def _malformed() -> ProofError:
    return ProofError("The proof leads to bytes that are no Ethereum state.")
