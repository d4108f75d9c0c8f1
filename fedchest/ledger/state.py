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

_PARENT, _STATE_ROOT, _TRANSACTIONS_ROOT, _RECEIPTS_ROOT, _NUMBER, _TIMESTAMP = 0, 3, 4, 5, 8, 11
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
    """What a proof needs of a block: hashes and roots are 32 bytes, `parent` a hash, `timestamp` is in seconds."""

    hash: bytes
    parent: bytes
    number: int
    timestamp: int
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes

    @classmethod
    def from_bytes(cls, encoded: bytes) -> "Header":
        """Read a header's RLP, of whatever fork. Raises ProofError when it is none."""
        fields = _decoded(encoded)
        if not isinstance(fields, list) or len(fields) < _OLDEST_FIELDS:
            raise ProofError("The block header in the proof is not one.")
        hashes = [fields[place] for place in (_PARENT, _STATE_ROOT, _TRANSACTIONS_ROOT, _RECEIPTS_ROOT)]
        numbers = [fields[place] for place in (_NUMBER, _TIMESTAMP)]
        sizes_fit = all(isinstance(field, bytes) for field in (*hashes, *numbers)) and (
            all(len(field) == _WORD for field in hashes) and all(len(field) <= _SMALL for field in numbers)
        )
        if not sizes_fit:
            raise ProofError("The block header in the proof is not one.")
        parent, state, transactions, receipts = hashes
        number, timestamp = map(int.from_bytes, numbers)
        return cls(keccak(encoded), parent, number, timestamp, state, transactions, receipts)


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
