"""The journal: each block's time, hash and raw transactions, from which the chain is rebuilt bit for bit.

A node's storage can be edited, rolled back or lost without a trace in the node. Its blocks can't be rebuilt
to the same hashes once they differ, so that whoever holds a journal notices; test_journal.py tries each of
these.
"""

import fcntl
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
from web3 import HTTPProvider, Web3
from web3.exceptions import BlockNotFound
from web3.types import TxData

from fedchest.errors import ChainError, StoreError, TamperError
from fedchest.ledger.direct import Call, results
from fedchest.ledger.rpc import fetch

log = logging.getLogger(__name__)


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
        fields = json.loads(line)
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

    def follow(self, w3: Web3) -> int:
        """Append, flushed, the blocks that the node has and the journal lacks; returns the height reached.

        Raises ChainError when the node no longer has the journal's last block: it was rolled back or
        replaced.
        """
        with self._locked() as file:
            self._read_new(file)
            self._check_lineage(w3)
            self._write(file, block_records(w3, range(self._height + 1, w3.eth.block_number + 1)))
            return self._height

    def append(self, records: Sequence[BlockRecord]) -> None:
        """Append, flushed, blocks that go on where the journal ends. Raises StoreError when they don't."""
        with self._locked() as file:
            self._read_new(file)
            if records and records[0].number != self._height + 1:
                raise StoreError(f"{self.path} ends at block {self._height}, not before {records[0].number}.")
            self._write(file, records)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            with self.path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
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

    def _check_lineage(self, w3: Web3) -> None:
        if self._height == 0:
            return
        try:
            found = _hash(w3, self._height)
        except BlockNotFound:
            found = b""
        if found != self._head:
            raise TamperError(
                f"The chain is not the one recorded in {self.path}: block {self._height} "
                + ("differs." if found else "is missing.")
            )


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


def rebuild(w3: Web3, records: Sequence[BlockRecord], source: str = "the journal") -> None:
    """Repeat blocks of `source` on a development node that stands before them and does not mine by itself.

    Raises TamperError, naming the block, at the first that does not come out with its recorded hash.
    """
    assert isinstance(w3.provider, HTTPProvider)
    calls = [(index, call) for index, record in enumerate(records) for call in _calls(record)]
    done = 0
    try:
        for _ in results(str(w3.provider.endpoint_uri), [call for _, call in calls]):
            done += 1
    except ChainError as error:
        index = calls[done][0]
        _check_hashes(w3, records[:index], source)
        raise TamperError(f"Block {records[index].number} of {source} can't be repeated: {error}") from None
    _check_hashes(w3, records, source)


def _calls(record: BlockRecord) -> Iterator[Call]:
    """What repeats the block."""
    for raw in record.transactions:
        yield "eth_sendRawTransaction", ["0x" + raw.hex()]
    yield "evm_mine", [{"timestamp": record.timestamp}]


def _check_hashes(w3: Web3, records: Sequence[BlockRecord], source: str) -> None:
    """Each block's hash covers its parent's, so that the last one speaks for all before it."""
    if not records or _hash(w3, records[-1].number) == records[-1].hash:
        return
    wrong = next(record.number for record in records if _hash(w3, record.number) != record.hash)
    raise TamperError(f"Block {wrong} of {source} does not reproduce its recorded hash.")


def _hash(w3: Web3, number: int) -> bytes:
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
