"""Calls of the contract as bytes, without a node: what a transaction carries, a decision names, a file ledger keeps."""

from collections.abc import Sequence
from dataclasses import astuple, is_dataclass
from functools import cache
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_abi_to_4byte_selector, get_abi_input_types
from eth_utils.address import to_checksum_address

from fedchest.errors import ChainError
from fedchest.ledger.artifact import artifact
from fedchest.ledger.records import Rules

_SELECTOR = 4


def encoded_call(name: str, arguments: Sequence[Any]) -> bytes:
    """A call of the contract's function `name`; dataclasses stand for structs."""
    entry = _functions()[name]
    return function_abi_to_4byte_selector(entry) + encode(get_abi_input_types(entry), _plain(arguments))


def decoded_call(call: bytes) -> tuple[str, tuple[Any, ...]]:
    """Name and arguments of a call; structs as tuples, addresses checksummed.

    Raises ChainError for bytes that are not exactly one function's call: no two encodings mean the same.
    """
    name = called(call)
    if name is None:
        raise ChainError(f"0x{call[:_SELECTOR].hex()} is no function of the ledger.")
    types = get_abi_input_types(_functions()[name])
    return name, _decoded(name, types, call[_SELECTOR:])


def called(call: bytes) -> str | None:
    """Name of the function that is called; None for none of the ledger's."""
    return _names().get(call[:_SELECTOR])


def encoded_rules(rules: Rules) -> bytes:
    """The constructor's argument."""
    return encode(_constructor(), [astuple(rules)])


def decoded_rules(encoded: bytes) -> Rules:
    """The rules that a study is created with. Raises ChainError as `decoded_call`."""
    (fields,) = _decoded("the constructor", _constructor(), encoded)
    return Rules(*fields)


def _decoded(name: str, types: Sequence[str], content: bytes) -> tuple[Any, ...]:
    try:
        values = decode(types, content)
        canonical = encode(types, values) == content
    except (DecodingError, OverflowError):
        canonical = False
    if not canonical:
        raise ChainError(f"{len(content)} bytes are no arguments of {name}.")
    pairs = zip(types, values, strict=True)
    return tuple(to_checksum_address(value) if kind == "address" else value for kind, value in pairs)


def _plain(arguments: Sequence[Any]) -> list[Any]:
    return [astuple(one) if is_dataclass(one) and not isinstance(one, type) else one for one in arguments]


@cache
def _functions() -> dict[str, Any]:
    return {entry["name"]: entry for entry in artifact().abi if entry["type"] == "function"}


@cache
def _names() -> dict[bytes, str]:
    return {function_abi_to_4byte_selector(entry): name for name, entry in _functions().items()}


@cache
def _constructor() -> list[str]:
    entries: list[Any] = artifact().abi
    (entry,) = (entry for entry in entries if entry["type"] == "constructor")
    return get_abi_input_types(entry)
