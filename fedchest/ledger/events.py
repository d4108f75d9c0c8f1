"""From the contract's logs to `Event` values."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from eth_utils.abi import event_abi_to_log_topic
from hexbytes import HexBytes
from web3 import Web3
from web3.contract import Contract
from web3.types import FilterParams, LogReceipt

from fedchest.ledger.records import Event, Rules, VoidCause
from fedchest.ledger.rpc import fetch


class EventReader:
    """Reads and decodes one contract's events; blocks and receipts are fetched in batches and remembered."""

    def __init__(self, w3: Web3, contract: Contract) -> None:
        self._w3 = w3
        self._contract = contract
        kinds = [contract.events[entry["name"]]() for entry in contract.abi if entry["type"] == "event"]
        self._kinds = {HexBytes(event_abi_to_log_topic(kind.abi)): kind for kind in kinds}
        self._times: dict[int, int] = {}
        self._receipts: dict[HexBytes, tuple[str, int]] = {}

    def events(self, from_block: int) -> list[Event]:
        """Every event from `from_block` on, in the chain's order."""
        logs = self._logs(from_block, [])
        self._learn(logs)
        return [self._event(log) for log in logs]

    def values(self, name: str, from_block: int, *indexed: int) -> list[dict[str, Any]]:
        """The fields of the events `name` whose leading indexed fields have the given values; one request."""
        topics = [topic for topic, kind in self._kinds.items() if kind.event_name == name]
        logs = self._logs(from_block, [*topics, *(HexBytes(value.to_bytes(32, "big")) for value in indexed)])
        return [self._fields(log) for log in logs]

    def _logs(self, from_block: int, topics: Sequence[HexBytes]) -> list[LogReceipt]:
        query: FilterParams = {
            "address": self._contract.address,
            "fromBlock": from_block,
            "toBlock": "latest",
            "topics": list(topics),
        }
        return list(self._w3.eth.get_logs(query))

    def _learn(self, logs: Iterable[LogReceipt]) -> None:
        """Fetch the block times, senders and gas that are not known yet."""
        blocks = sorted({log["blockNumber"] for log in logs} - self._times.keys())
        hashes = sorted({log["transactionHash"] for log in logs} - self._receipts.keys())
        for block in fetch(self._w3, self._w3.eth.get_block, blocks):
            self._times[block["number"]] = block["timestamp"]
        for receipt in fetch(self._w3, self._w3.eth.get_transaction_receipt, hashes):
            self._receipts[receipt["transactionHash"]] = (receipt["from"], receipt["gasUsed"])

    def _event(self, log: LogReceipt) -> Event:
        fields = self._fields(log)
        sender, gas = self._receipts[log["transactionHash"]]
        return Event(
            block=log["blockNumber"],
            index=log["logIndex"],
            timestamp=self._times[log["blockNumber"]],
            transaction=Web3.to_hex(log["transactionHash"]),
            sender=sender,
            gas=gas,
            name=self._kinds[log["topics"][0]].event_name,
            round=fields.pop("round", None),
            institution=fields.pop("institution", None),
            values=fields,
        )

    def _fields(self, log: LogReceipt) -> dict[str, Any]:
        arguments = self._kinds[log["topics"][0]].process_log(log)["args"]
        return {snake_case(name): _value(name, value) for name, value in arguments.items()}


def snake_case(name: str) -> str:
    """`newModel` as `new_model`."""
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def _value(name: str, value: Any) -> Any:
    if name == "rules":
        return Rules(**{snake_case(key): field for key, field in value.items()})
    if name == "cause":
        return VoidCause(value)
    if isinstance(value, list):
        return tuple(value)
    return value
