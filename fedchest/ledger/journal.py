"""The journal: each block's time, hash and raw transactions, from which the chain is rebuilt bit for bit.

A node's storage can be edited, rolled back or lost without a trace in the node. Its blocks can't be rebuilt
to the same hashes once they differ, so that whoever holds a journal notices; test_journal.py tries each of
these.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import rlp
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import BlockNotFound
from web3.types import TxData

from fedchest.errors import ChainError, StoreError, TamperError
from fedchest.files import held
from fedchest.ledger.patience import looks, time_left
from fedchest.ledger.rpc import fetch
from fedchest.parsing import parse_json

log = logging.getLogger(__name__)

_LOCK_SECONDS = 120.0


class ChainBehind(ChainError):
    """The node does not have all of a journal's blocks (yet): it is coming up, or was rolled back."""


@dataclass(frozen=True)
class BlockRecord:
    """One block: number from 1, time in seconds, hash (32 bytes), raw signed transactions in their order."""

    number: int
    timestamp: int
    hash: bytes
    transactions: tuple[bytes, ...]

    def to_line(self) -> bytes:
        """One JSON line, newline included."""
        fields = {
            "number": self.number,
            "timestamp": self.timestamp,
            "hash": "0x" + self.hash.hex(),
            "transactions": ["0x" + raw.hex() for raw in self.transactions],
        }
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "BlockRecord":
        """Raises ValueError, KeyError or TypeError on a line that is none of ours."""
        fields = parse_json(line)
        transactions = tuple(bytes.fromhex(raw[2:]) for raw in fields["transactions"])
        return cls(fields["number"], fields["timestamp"], bytes.fromhex(fields["hash"][2:]), transactions)


class Journal:
    """The blocks of one chain from block 1 on, as this party saw them; processes may share the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._height = 0
        self._head = b""

    def records(self) -> list[BlockRecord]:
        """The blocks recorded. A last line cut off while it was written is dropped, with a notice in the log.

        Raises StoreError, naming the line, when another line is damaged or a block is missing.
        """
        with self._locked() as file:
            self._offset = self._height = 0
            return self._read_new(file)

    def follow(self, w3: Web3, depth: int = 0) -> int:
        """Append, flushed, the blocks that the node has and the journal lacks; returns the height reached.

        The last `depth` blocks are left out: a chain that reorganises may take them back. Raises ChainError when
        the node has another block in the place of the journal's last, and ChainBehind when it has none there.
        """
        with self._locked() as file:
            self._read_new(file)
        # Asked without the lock: the node may be gone, and whoever brings it back reads this journal.
        records = self._news(w3, depth)
        with self._locked() as file:
            others = {record.number: record.hash for record in self._read_new(file)}
            if any(others.get(record.number, record.hash) != record.hash for record in records):
                raise self._differs(max(others))
            self._write(file, [record for record in records if record.number > self._height])
            return self._height

    def append(self, records: Sequence[BlockRecord]) -> None:
        """Append, flushed, blocks that go on where the journal ends. Raises StoreError when they don't."""
        with self._locked() as file:
            self._read_new(file)
            if records and records[0].number != self._height + 1:
                raise StoreError(f"{self.path} ends at block {self._height}, not before {records[0].number}.")
            self._write(file, records)

    def _news(self, w3: Web3, depth: int) -> list[BlockRecord]:
        height, head = self._height, self._head
        try:
            if height > 0 and hash_of(w3, height) != head:
                raise self._differs(height)
            return block_records(w3, range(height + 1, w3.eth.block_number - depth + 1))
        except BlockNotFound:
            raise ChainBehind(
                f"The chain ends before what is recorded in {self.path}: block {height} is missing. Was it "
                "restarted from an older state?"
            ) from None

    def _differs(self, number: int) -> TamperError:
        return TamperError(f"The chain is not the one recorded in {self.path}: block {number} differs.")

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            with held(self.path, min(_LOCK_SECONDS, time_left())), self.path.open("r+b") as file:
                yield file
        except OSError as error:
            raise StoreError(f"{self.path} can't be read or written: {error.strerror}.") from None

    def _write(self, file: BinaryIO, records: Sequence[BlockRecord]) -> None:
        if records:
            file.write(b"".join(record.to_line() for record in records))
            file.flush()
            os.fsync(file.fileno())
            self._advance(records, file.tell())

    def _read_new(self, file: BinaryIO) -> list[BlockRecord]:
        """Read on from where this object stopped, and leave the file at its sound end."""
        file.seek(self._offset)
        records: list[BlockRecord] = []
        end = self._offset
        for line in file:
            if not line.endswith(b"\n"):
                log.warning("%s: the last line was cut off while it was written and is dropped.", self.path)
                file.truncate(end)
                break
            records.append(self._parse(line, self._height + len(records) + 1))
            end += len(line)
        file.seek(end)
        self._advance(records, end)
        return records

    def _parse(self, line: bytes, number: int) -> BlockRecord:
        try:
            record = BlockRecord.from_line(line)
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"{self.path}: line {number} is not a block record.") from None
        if record.number != number:
            raise StoreError(f"{self.path}: line {number} holds block {record.number}.")
        return record

    def _advance(self, records: Sequence[BlockRecord], offset: int) -> None:
        self._offset = offset
        if records:
            self._height, self._head = records[-1].number, records[-1].hash


def follow_patiently(journal: Journal, w3: Web3, depth: int, patience: float) -> None:
    """`Journal.follow`, which for `patience` seconds takes a chain that is behind for one that is coming up again."""
    for _ in looks(patience):
        try:
            journal.follow(w3, depth)
            return
        except ChainBehind as error:
            behind = error
    raise behind


def block_records(w3: Web3, numbers: Sequence[int]) -> list[BlockRecord]:
    """The records of the blocks `numbers`, as the node tells them."""
    blocks = fetch(w3, partial(w3.eth.get_block, full_transactions=True), numbers)
    return [
        BlockRecord(
            block["number"],
            block["timestamp"],
            bytes(block["hash"]),
            tuple(_raw_transaction(tx) for tx in block["transactions"]),
        )
        for block in blocks
    ]


def hash_of(w3: Web3, number: int) -> bytes:
    """Hash of one of the node's blocks."""
    return bytes(w3.eth.get_block(number)["hash"])


def _raw_transaction(tx: TxData) -> bytes:
    """The signed bytes of a transaction, put together from its fields: not every node hands them out.

    Kinds 0 to 2 (legacy, with an access list, EIP-1559). The bytes must hash to the transaction's hash, which
    what an impersonating node made up does not.
    """
    to = tx.get("to")
    body = [tx["gas"], b"" if to is None else bytes.fromhex(to[2:]), tx["value"], bytes(tx["input"])]
    signature = [int.from_bytes(tx["r"], "big"), int.from_bytes(tx["s"], "big")]
    if tx["type"] == 0:
        raw = rlp.encode([tx["nonce"], tx["gasPrice"], *body, tx["v"], *signature])
    else:
        capped = tx["type"] != 1
        fees = [tx["maxPriorityFeePerGas"], tx["maxFeePerGas"]] if capped else [tx["gasPrice"]]
        fields = [tx["chainId"], tx["nonce"], *fees, *body, _access_list(tx), tx["v"], *signature]
        raw = (b"\x02" if capped else b"\x01") + rlp.encode(fields)
    if Web3.keccak(raw) != tx["hash"]:
        raise TamperError(
            f"Transaction {Web3.to_hex(tx['hash'])} in block {tx['blockNumber']} is not signed by its sender, "
            "or of a kind that the journal can't keep."
        )
    return bytes(raw)


def _access_list(tx: TxData) -> list[list[object]]:
    return [
        [bytes.fromhex(entry["address"][2:]), [HexBytes(key) for key in entry["storageKeys"]]]
        for entry in tx.get("accessList", [])
    ]
