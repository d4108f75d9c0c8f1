"""The compiled contract in an EVM without a node: any sender, any block time, thousands of calls a second."""

import re
from collections.abc import Callable, Sequence
from dataclasses import astuple, is_dataclass
from functools import cache
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.abi import (
    event_abi_to_log_topic,
    function_abi_to_4byte_selector,
    get_abi_input_types,
    get_abi_output_types,
)
from hexbytes import HexBytes
from ledger_model import Block, Emitted
from pyrevm import EVM, BlockEnv

from fedchest.ledger.artifact import artifact
from fedchest.ledger.contract import refusal
from fedchest.ledger.events import snake_case
from fedchest.ledger.records import Rules, VoidCause

CHAIN_ID = 1
_READER = "0x" + 39 * "0" + "1"


class ContractDriver:
    """One contract; every transaction is a block of its own, `seconds` after the one before."""

    def __init__(self, rules: Rules, coordinator: str) -> None:
        self._evm = EVM()
        self._block = Block(0, 1_000_000, bytes(32))
        arguments = (astuple(rules),)
        creation = artifact().bytecode + encode(get_abi_input_types(_entry("constructor")), arguments)
        self.address = str(self._attempt(lambda: self._evm.deploy(coordinator, creation)))
        self.gas = 0

    @property
    def now(self) -> int:
        """Time of the last block."""
        return self._block.timestamp

    def next_block(self, seconds: int = 1) -> Block:
        """Go on to the block that the next transaction will be in."""
        number = self._block.number + 1
        parent = self._evm.block_hash(number - 1)
        self._block = Block(number, self._block.timestamp + seconds, bytes(HexBytes(parent)))
        self._evm.set_block_env(BlockEnv(number=number, timestamp=self._block.timestamp))
        return self._block

    def run(self, sender: str, name: str, *arguments: Any) -> list[Emitted]:
        """Run an action; the events it emitted. Raises LedgerRefusal when the contract refuses."""
        self._call(sender, name, arguments)
        self.gas = self._evm.result.gas_used
        return [_emitted(log.topics, bytes(log.data[1])) for log in self._evm.result.logs]

    def view(self, name: str, *arguments: Any) -> Any:
        """The value of a view; structs as tuples."""
        returned = self._call(_READER, name, arguments)
        return decode(get_abi_output_types(_entry(name)), returned)[0]

    def _call(self, sender: str, name: str, arguments: tuple[Any, ...]) -> bytes:
        data = encoded_call(name, arguments)
        return self._attempt(lambda: self._evm.message_call(sender, self.address, calldata=data))

    def _attempt(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except RuntimeError as error:
            output = re.search(r"output: (0x[0-9a-f]*)", str(error))
            assert output is not None, error
            raise refusal(output[1]) from None


def encoded_call(name: str, arguments: Sequence[Any]) -> bytes:
    """A call of the contract as it takes it; dataclasses stand for structs."""
    plain = [astuple(one) if is_dataclass(one) and not isinstance(one, type) else one for one in arguments]
    return _selector(name) + encode(get_abi_input_types(_entry(name)), plain)


@cache
def _entry(name: str) -> Any:
    return next(entry for entry in artifact().abi if name in (entry.get("name"), entry["type"]))


@cache
def _selector(name: str) -> bytes:
    return function_abi_to_4byte_selector(_entry(name))


@cache
def _events() -> dict[bytes, Any]:
    return {event_abi_to_log_topic(entry): entry for entry in artifact().abi if entry["type"] == "event"}


def _emitted(topics: list[str], data: bytes) -> Emitted:
    entry = _events()[bytes(HexBytes(topics[0]))]
    indexed = [field for field in entry["inputs"] if field["indexed"]]
    others = [field for field in entry["inputs"] if not field["indexed"]]
    values = {
        field["name"]: decode([field["type"]], bytes(HexBytes(topic)))[0]
        for field, topic in zip(indexed, topics[1:], strict=True)
    }
    decoded = decode([field["type"] for field in others], data)
    values |= {field["name"]: value for field, value in zip(others, decoded, strict=True)}
    return entry["name"], {snake_case(name): _comparable(name, value) for name, value in values.items()}


def _comparable(name: str, value: Any) -> Any:
    return VoidCause(value) if name == "cause" else value
