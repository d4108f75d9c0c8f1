"""The shipped contract on a chain: the comparison with what is deployed, and its errors as exceptions."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_utils.abi import function_abi_to_4byte_selector, get_abi_input_names, get_abi_input_types
from eth_utils.address import to_checksum_address
from web3 import Web3
from web3.contract import Contract

from fedchest.errors import ChainError
from fedchest.ledger.artifact import artifact


class LedgerRefusal(ChainError):
    """The contract refused a transaction: `name` is its custom error, `values` what the error carries."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        details = ", ".join(f"{key}={_readable(value)}" for key, value in values.items())
        super().__init__(f"The ledger refused: {name}({details}).")
        self.name = name
        self.values = values


def refusal(data: str) -> LedgerRefusal:
    """The refusal that revert data (0x...) stands for; one that isn't the contract's shows its data."""
    raw = bytes.fromhex(data.removeprefix("0x"))
    error = _errors().get(raw[:4])
    if error is None:
        return LedgerRefusal("UnknownError", {"data": data})
    types = get_abi_input_types(error)
    pairs = zip(types, decode(types, raw[4:]), strict=True)
    return named_refusal(
        error["name"], *(to_checksum_address(value) if kind == "address" else value for kind, value in pairs)
    )


def named_refusal(name: str, *values: Any) -> LedgerRefusal:
    """The refusal by the contract's error `name`, with the values that it carries in their order."""
    error = next(error for error in _errors().values() if error["name"] == name)
    return LedgerRefusal(name, dict(zip(get_abi_input_names(error), values, strict=True)))  # type: ignore[arg-type]


def deployed(w3: Web3, address: str) -> Contract:
    """The contract at `address`. Raises ChainError when other code, or none, is there."""
    if not Web3.is_address(address):
        raise ChainError(f"{address!r} is not an Ethereum address.")
    checksummed = Web3.to_checksum_address(address)
    code = bytes(w3.eth.get_code(checksummed))
    if not code:
        raise ChainError(f"There is no contract at {address} on this chain.")
    if code != artifact().deployed_bytecode:
        raise ChainError(f"The contract at {address} is not the ledger that this version of FedChest ships.")
    return w3.eth.contract(address=checksummed, abi=artifact().abi)


@cache
def _errors() -> dict[bytes, Any]:
    errors: list[Any] = [entry for entry in artifact().abi if entry["type"] == "error"]
    return {function_abi_to_4byte_selector(error): error for error in errors}


def _readable(value: Any) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
