"""Blocks from first principles: headers, signed transactions and receipts as Ethereum hashes them, without a node."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import rlp
from eth_account import Account
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException
from trie.hexary import HexaryTrie
from web3 import Web3

from fedchest.errors import ChainError
from fedchest.ledger.events import event
from fedchest.ledger.journal import block_records
from fedchest.ledger.records import Event
from fedchest.ledger.rpc import commands
from fedchest.ledger.snapshot import encoded_header
from fedchest.ledger.state import Header

_FIRST_OF_A_LIST = 0xC0
_DYNAMIC_FEE = 2
_FIELDS = {0: slice(0, 6), _DYNAMIC_FEE: slice(1, 8)}  # from nonce to data, by the transaction's type


@dataclass(frozen=True)
class Transaction:
    """A signed transaction: `sender` is recovered from its signature, `to` is None where it creates a contract."""

    hash: bytes
    sender: str
    nonce: int
    to: str | None
    data: bytes

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Transaction":
        """Read a legacy or EIP-1559 transaction. Raises ChainError for what is none, or not signed."""
        try:
            kind = 0 if raw[0] >= _FIRST_OF_A_LIST else raw[0]
            fields = rlp.decode(raw if kind == 0 else raw[1:])[_FIELDS[kind]]
            nonce, to, data = fields[0], fields[-3], fields[-1]
            sender = str(Account.recover_transaction(raw))
            return cls(
                keccak(raw), sender, int.from_bytes(nonce), to_checksum_address(to) if to else None, data
            )
        except (RLPException, BadSignature, ValidationError, ValueError, TypeError, LookupError):
            raise ChainError(f"Transaction 0x{keccak(raw).hex()} can't be read, or is not signed.") from None

    @property
    def created(self) -> str:
        """Address of the contract that it creates, where it creates one."""
        sender = bytes.fromhex(self.sender[2:])
        return str(to_checksum_address(keccak(rlp.encode([sender, self.nonce]))[-20:]))


@dataclass(frozen=True)
class Block:
    """A block's parts: its header in RLP, its raw transactions, and their receipts as the receipts' trie holds them.

    Nothing binds the parts to the header but the roots in it, which whoever uses them compares. Every property raises
    ChainError, or ProofError for the header, where the bytes are none.
    """

    encoded_header: bytes
    raw_transactions: tuple[bytes, ...]
    receipts: tuple[bytes, ...]

    @cached_property
    def header(self) -> Header:
        """What the header says, and its hash."""
        return Header.from_bytes(self.encoded_header)

    @cached_property
    def transactions(self) -> list[Transaction]:
        """The transactions, their senders recovered."""
        return [Transaction.from_bytes(raw) for raw in self.raw_transactions]

    def transactions_root(self) -> bytes:
        """What the header's transactions root has to be."""
        return _root(self.raw_transactions)

    def receipts_root(self) -> bytes:
        """What the header's receipts root has to be."""
        return _root(self.receipts)

    def events(self, contract: str) -> list[Event]:
        """The events of the ledger at `contract`, as the receipts tell them. Raises ChainError."""
        if len(self.receipts) != len(self.raw_transactions):
            raise ChainError(f"Block {self.header.number} has not one receipt for each transaction.")
        return list(self._events(contract))

    def _events(self, contract: str) -> Iterator[Event]:
        receipts = [_decoded(receipt) for receipt in self.receipts]
        spent = [0, *(int.from_bytes(receipt[1]) for receipt in receipts)]
        gas = [after - before for before, after in pairwise(spent)]
        index = 0
        for transaction, receipt, used in zip(self.transactions, receipts, gas, strict=True):
            for address, topics, data in receipt[3]:
                if to_checksum_address(address) == contract:
                    log = {
                        "blockNumber": hex(self.header.number),
                        "logIndex": hex(index),
                        "transactionHash": "0x" + transaction.hash.hex(),
                        "topics": ["0x" + topic.hex() for topic in topics],
                        "data": "0x" + data.hex(),
                    }
                    yield event(log, self.header.timestamp, transaction.sender, used)
                index += 1


def read_blocks(w3: Web3, numbers: Sequence[int]) -> list[Block]:
    """The blocks `numbers` as the node tells them. Raises ChainError for a transaction that its sender did not sign."""
    records = block_records(w3, numbers)
    headers = commands(w3, "eth_getBlockByNumber", [(hex(number), False) for number in numbers])
    hashes = ["0x" + keccak(raw).hex() for record in records for raw in record.transactions]
    receipts = iter(commands(w3, "eth_getTransactionReceipt", [(one,) for one in hashes]))
    return [
        Block(
            encoded_header(header),
            record.transactions,
            tuple(_encoded(next(receipts)) for _ in record.transactions),
        )
        for record, header in zip(records, headers, strict=True)
    ]


def _root(values: Sequence[bytes]) -> bytes:
    trie = HexaryTrie({})
    for place, value in enumerate(values):
        trie[rlp.encode(place)] = value
    return bytes(trie.root_hash)


def _encoded(receipt: Mapping[str, Any]) -> bytes:
    """A receipt, told in JSON, as the receipts' trie holds it."""
    logs = [
        [_bytes(log["address"]), [_bytes(topic) for topic in log["topics"]], _bytes(log["data"])]
        for log in receipt["logs"]
    ]
    gas, kind = int(receipt["cumulativeGasUsed"], 16), int(receipt.get("type", "0x0"), 16)
    body = rlp.encode([int(receipt["status"], 16), gas, _bytes(receipt["logsBloom"]), logs])
    return bytes(body) if kind == 0 else bytes([kind]) + bytes(body)


def _decoded(receipt: bytes) -> Any:
    """Status, cumulative gas, bloom and logs."""
    try:
        fields = rlp.decode(receipt if receipt[0] >= _FIRST_OF_A_LIST else receipt[1:])
        status, gas, bloom, logs = fields
        return status, gas, bloom, [(address, topics, data) for address, topics, data in logs]
    except (RLPException, ValueError, TypeError, LookupError):
        raise ChainError("A receipt can't be read.") from None


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
