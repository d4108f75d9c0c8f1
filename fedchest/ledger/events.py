"""From the contract's logs to `Event` values."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import collapse_if_tuple, event_abi_to_log_topic
from web3 import Web3
from web3.contract import Contract

from fedchest.errors import ChainError
from fedchest.ledger.artifact import artifact
from fedchest.ledger.records import Event, Rules, VoidCause
from fedchest.ledger.rpc import command, commands, last_final

Log = Mapping[str, Any]
"""A log as the node gives it: JSON with numbers and bytes in hexadecimal."""


_WORD = 32
_WORD_BITS = {"address": 160, "bool": 1} | {f"uint{bits}": bits for bits in range(8, 264, 8)}
_WORD_BYTES = {f"bytes{size}": size for size in range(1, _WORD + 1)}


class ChainMoved(ChainError):
    """The chain was rewritten while it was read; reading again gives the new one."""


class EventReader:
    """Reads and decodes one contract's events; blocks and receipts are fetched in batches.

    Nothing is remembered between calls, since a reorganisation can give a known number or transaction another
    block.
    """

    def __init__(self, w3: Web3, contract: Contract, depth: int = 0) -> None:
        """`depth`: how many of the newest blocks are left out."""
        self._w3 = w3
        self._depth = depth
        self._address = contract.address

    def events(self, from_block: int, to_block: int | None = None) -> list[Event]:
        """Every event from `from_block` to `to_block` (default: the last), in the chain's order.

        Raises ChainMoved when the blocks vanish meanwhile, ChainError for a log that is none of the contract's.
        """
        logs = self._logs(from_block, to_block, [])
        times = self._times({log["blockHash"] for log in logs})
        receipts = self._receipts(logs)
        return [event(log, times[log["blockHash"]], *receipts[log["transactionHash"]]) for log in logs]

    def values(self, name: str, from_block: int, *indexed: int) -> list[dict[str, Any]]:
        """The fields of the events `name` whose leading indexed fields have the given values; one request."""
        topics = [topic for topic, kind in _kinds().items() if kind.name == name]
        logs = self._logs(from_block, None, [*topics, *(f"0x{value:064x}" for value in indexed)])
        return [decoded(log)[1] for log in logs]

    def creation(self) -> bytes:
        """Hash of the block in which the contract was created: what no two chains have in common."""
        topics = [topic for topic, kind in _kinds().items() if kind.name == "StudyCreated"]
        logs = self._logs(0, None, topics)
        if not logs:
            raise ChainError(f"The chain has no event of the creation of {self._address}.")
        return bytes.fromhex(logs[0]["blockHash"][2:])

    def _last(self) -> str:
        block = last_final(self._w3, self._depth)
        return hex(block) if isinstance(block, int) else str(block)

    def _logs(self, from_block: int, to_block: int | None, topics: Sequence[str]) -> list[Log]:
        query = {
            "address": self._address,
            "fromBlock": hex(from_block),
            "toBlock": self._last() if to_block is None else hex(to_block),
            "topics": list(topics),
        }
        return list(command(self._w3, "eth_getLogs", query))

    def _times(self, hashes: Iterable[str]) -> dict[str, int]:
        """Time in seconds by block hash."""
        ordered = sorted(hashes)
        blocks = commands(self._w3, "eth_getBlockByHash", [(one, False) for one in ordered])
        return {
            one: _number(_present(block)["timestamp"]) for one, block in zip(ordered, blocks, strict=True)
        }

    def _receipts(self, logs: Iterable[Log]) -> dict[str, tuple[str, int]]:
        """Sender and gas by transaction hash."""
        blocks = {log["transactionHash"]: log["blockHash"] for log in logs}
        receipts = commands(self._w3, "eth_getTransactionReceipt", [(one,) for one in blocks])
        found = {}
        for transaction, receipt in zip(blocks, receipts, strict=True):
            if _present(receipt)["blockHash"] != blocks[transaction]:
                raise _moved()
            found[transaction] = (_checksummed(receipt["from"]), _number(receipt["gasUsed"]))
        return found


def decoded(log: Log) -> tuple[str, dict[str, Any]]:
    """The event's name and its fields. Raises ChainError for a log that is none of the ledger's."""
    try:
        kind = _kinds()[log["topics"][0]]
        return kind.name, kind.fields(log)
    except (DecodingError, ValueError, LookupError):
        raise ChainError(
            f"The node gave a log that is none of the ledger's events, in block {_number(log['blockNumber'])}."
        ) from None


def event(log: Log, timestamp: int, sender: str, gas: int) -> Event:
    """The event that a log tells, in a block of that time and a transaction of that sender and gas. As `decoded`."""
    name, fields = decoded(log)
    return Event(
        block=_number(log["blockNumber"]),
        index=_number(log["logIndex"]),
        timestamp=timestamp,
        transaction=log["transactionHash"],
        sender=sender,
        gas=gas,
        name=name,
        round=fields.pop("round", None),
        institution=fields.pop("institution", None),
        values=fields,
    )


@dataclass(frozen=True)
class _Kind:
    """One event of the ABI, and how its logs are read."""

    entry: Any

    @property
    def name(self) -> str:
        return str(self.entry["name"])

    @property
    def topic(self) -> str:
        return "0x" + event_abi_to_log_topic(self.entry).hex()

    @cached_property
    def _names(self) -> list[str]:
        return [snake_case(field["name"]) for field in self._inputs]

    @cached_property
    def _types(self) -> list[str]:
        return [collapse_if_tuple(field) for field in self._inputs]

    @cached_property
    def _inputs(self) -> list[Any]:
        """In the order in which a log holds them: topics first, then data."""
        return sorted(self.entry["inputs"], key=lambda field: not field["indexed"])

    @cached_property
    def _indexed(self) -> int:
        return sum(field["indexed"] for field in self.entry["inputs"])

    @cached_property
    def _one_word_each(self) -> bool:
        return all(kind in _WORD_BITS or kind in _WORD_BYTES for kind in self._types)

    def fields(self, log: Log) -> dict[str, Any]:
        """The values by snake_case name. Raises DecodingError, ValueError or LookupError for another's log."""
        topics = bytes.fromhex("".join(topic[2:] for topic in log["topics"][1:]))
        data = bytes.fromhex(log["data"][2:])
        values = self._words(topics + data) if self._one_word_each else self._decoded(topics, data)
        return {
            name: _value(name, kind, value)
            for name, kind, value in zip(self._names, self._types, values, strict=True)
        }

    def _words(self, content: bytes) -> list[Any]:
        """The fast way, for the many events without lists or tuples: eth_abi takes ten times as long."""
        if len(content) != _WORD * len(self._types):
            raise ValueError(f"{len(content)} bytes for {len(self._types)} words")
        return [_word(kind, content[_WORD * i : _WORD * (i + 1)]) for i, kind in enumerate(self._types)]

    def _decoded(self, topics: bytes, data: bytes) -> list[Any]:
        return [*decode(self._types[: self._indexed], topics), *decode(self._types[self._indexed :], data)]


@cache
def _kinds() -> dict[str, _Kind]:
    """The contract's events by topic."""
    kinds = [_Kind(entry) for entry in artifact().abi if entry["type"] == "event"]
    return {kind.topic: kind for kind in kinds}


def _word(kind: str, word: bytes) -> Any:
    if kind in _WORD_BYTES:
        return _left_aligned(kind, word)
    number = int.from_bytes(word)
    if number >> _WORD_BITS[kind]:
        raise ValueError(f"{number} is no {kind}")
    if kind == "address":
        return f"0x{number:040x}"
    return bool(number) if kind == "bool" else number


def _left_aligned(kind: str, word: bytes) -> bytes:
    size = _WORD_BYTES[kind]
    if any(word[size:]):
        raise ValueError(f"0x{word.hex()} is no {kind}")
    return word[:size]


def snake_case(name: str) -> str:
    """`newModel` as `new_model`."""
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def _value(name: str, kind: str, value: Any) -> Any:
    if name == "rules":
        return Rules(*value)
    if name == "cause":
        return VoidCause(value)
    if kind == "address":
        return _checksummed(value)
    return value


@lru_cache(10_000)
def _checksummed(address: str) -> str:
    return str(Web3.to_checksum_address(address))


def _number(text: str) -> int:
    return int(text, 16)


def _present(answer: Any) -> Any:
    if answer is None:
        raise _moved()
    return answer


def _moved() -> ChainMoved:
    return ChainMoved("The chain was rewritten while its events were read; read them again.")
