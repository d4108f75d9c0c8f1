"""A chain's history without a node: blocks that hold together, and how the contract came to be."""

from collections.abc import Sequence
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from fedchest.audit.report import Fault
from fedchest.ledger.artifact import artifact
from fedchest.ledger.blocks import Block, Transaction
from fedchest.ledger.records import Rules


def check_block(block: Block, number: int, parent: bytes) -> None:
    """Raise Fault unless `block` is number `number`, follows `parent` (a hash), and holds what its roots say.

    The header's hash covers its parent's, the transactions and the receipts, and so every event.
    """
    header = block.header
    for what, expected, found in (
        ("its number", number, header.number),
        ("its parent", parent, header.parent),
        ("the root of its transactions", block.transactions_root(), header.transactions_root),
        ("the root of its receipts", block.receipts_root(), header.receipts_root),
    ):
        if expected != found:
            raise Fault(f"block {number}: {what} is another", expected=expected, found=found)


def creation(blocks: Sequence[Block], contract: str) -> tuple[int, Transaction]:
    """The number of the block, and the transaction, that created `contract`. Raises Fault when none did."""
    for block in blocks:
        for transaction in block.transactions:
            if transaction.to is None and transaction.created == contract:
                return block.header.number, transaction
    raise Fault(
        f"contract {contract} was not created by a transaction of its own",
        expected=f"a transaction that creates {contract}",
        found="none",
    )


def check_creation(transaction: Transaction, created: dict[str, Any]) -> None:
    """Raise Fault unless the transaction ran the shipped constructor with the arguments that StudyCreated told.

    Deployed code shows what a contract may do, not what its constructor wrote: another one could have filled the
    storage beforehand. `created` holds the event's values.
    """
    code = artifact().bytecode
    if not transaction.data.startswith(code):
        raise Fault(
            "the contract was created by other code than the shipped constructor",
            expected=f"{len(code)} bytes of creation code as shipped",
            found=f"{len(transaction.data)} bytes that begin otherwise",
        )
    told = [_plain(created["rules"])]
    arguments = _arguments(transaction.data[len(code) :])
    for what, expected, found in (
        ("coordinator", transaction.sender, created["coordinator"]),
        ("arguments", arguments, told),
    ):
        if expected != found:
            raise Fault(
                f"the contract was created with another {what} than its event tells",
                expected=expected,
                found=found,
            )


def _arguments(encoded: bytes) -> list[Any]:
    """The constructor's arguments. Raises Fault for bytes that are not exactly such."""
    (constructor,) = (entry for entry in artifact().abi if entry["type"] == "constructor")
    kinds = [_kind(entry) for entry in constructor["inputs"]]
    try:
        values = decode(kinds, encoded)
    except (DecodingError, OverflowError):
        values = ()
    if not values or encode(kinds, values) != encoded:
        raise Fault("the constructor was given no arguments of its kinds", expected=kinds, found=encoded)
    return list(values)


def _kind(entry: dict[str, Any]) -> str:
    parts = entry.get("components")
    return entry["type"] if parts is None else f"({','.join(_kind(part) for part in parts)})"


def _plain(value: object) -> Any:
    return tuple(vars(value).values()) if isinstance(value, Rules) else value
