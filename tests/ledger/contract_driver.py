"""The compiled contract in an EVM without a node: any sender, any block time, thousands of calls a second."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_utils.abi import get_abi_output_types
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from pyrevm import EVM, BlockEnv

from fedchest.ledger.artifact import artifact
from fedchest.ledger.calls import encoded_call, encoded_rules
from fedchest.ledger.contract import refusal
from fedchest.ledger.events import decoded
from fedchest.ledger.file.rules.state import Emitted, Moment
from fedchest.ledger.records import Rules

CHAIN_ID = 1
_READER = "0x" + 39 * "0" + "1"


class ContractDriver:
    """One contract; every transaction is a block of its own, `seconds` after the one before."""

    def __init__(self, rules: Rules, coordinator: str) -> None:
        self._evm = EVM()
        self._now = Moment(0, 1_000_000, bytes(32))
        creation = artifact().bytecode + encoded_rules(rules)
        self.address = to_checksum_address(self._attempt(lambda: self._evm.deploy(coordinator, creation)))
        self.created = self._emitted()
        self.gas = 0

    @property
    def now(self) -> int:
        """Time of the last block."""
        return self._now.timestamp

    def next_moment(self, seconds: int = 1) -> Moment:
        """Go on to the block that the next transaction will be in."""
        number = self._now.number + 1
        parent = self._evm.block_hash(number - 1)
        self._now = Moment(number, self._now.timestamp + seconds, bytes(HexBytes(parent)))
        self._evm.set_block_env(BlockEnv(number=number, timestamp=self._now.timestamp))
        return self._now

    def run(self, sender: str, name: str, *arguments: Any) -> list[Emitted]:
        """Run an action; the events it emitted. Raises LedgerRefusal when the contract refuses."""
        self._call(sender, name, arguments)
        self.gas = self._evm.result.gas_used
        return self._emitted()

    def _emitted(self) -> list[Emitted]:
        return [_emitted(log.topics, bytes(log.data[1])) for log in self._evm.result.logs]

    def view(self, name: str, *arguments: Any) -> Any:
        """The value of a view; structs as tuples."""
        returned = self._call(_READER, name, arguments)
        return _checksummed(decode(get_abi_output_types(_entry(name)), returned)[0])

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


@cache
def _entry(name: str) -> Any:
    return next(entry for entry in artifact().abi if name in (entry.get("name"), entry["type"]))


def _emitted(topics: list[str], data: bytes) -> Emitted:
    return decoded({"topics": topics, "data": "0x" + data.hex(), "blockNumber": "0x0"})


def _checksummed(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_checksummed(one) for one in value)
    return to_checksum_address(value) if isinstance(value, str) else value
