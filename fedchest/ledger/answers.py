"""Whether what a node answers can be an answer: its envelope, and the form of the results that the ledger reads."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from fedchest.parsing import parse_json

_TRANSIENT = {-32603, -32005}
"""Internal error, limit exceeded: the node's trouble of the moment."""

_Form = Callable[[Any], bool]


class BadAnswer(Exception):
    """What came is no answer to what was asked; the text says in what way."""


def parse(body: bytes, ids: Sequence[int]) -> list[dict[str, Any]]:
    """The JSON-RPC responses to the requests `ids`, in their order. Raises BadAnswer."""
    try:
        found = parse_json(body)
    except ValueError:
        raise BadAnswer("the answer is not JSON") from None
    responses = found if isinstance(found, list) else [found]
    if not all(_is_response(response) for response in responses):
        raise BadAnswer("the answer is not of JSON-RPC's form")
    by_id = {response["id"]: response for response in responses}
    if len(responses) != len(ids) or by_id.keys() != set(ids):
        raise BadAnswer("the answer belongs to another request")
    return [by_id[id] for id in ids]


def require_usable(method: str, response: dict[str, Any]) -> None:
    """Raise BadAnswer for a trouble of the moment, and for a result that `method` can't have."""
    if "error" in response:
        error = response["error"]
        if error.get("code") in _TRANSIENT and "data" not in error:
            raise BadAnswer(f"{method} failed: {error.get('message')}")
    elif method in _FORMS and not _FORMS[method](response["result"]):
        raise BadAnswer(f"{method} gave {str(response['result'])[:60]!r}")


def _is_response(response: Any) -> bool:
    if not isinstance(response, dict) or not isinstance(response.get("id"), int):
        return False
    return "result" in response if "error" not in response else isinstance(response["error"], dict)


def _text(pattern: str) -> _Form:
    compiled = re.compile(pattern)
    return lambda result: isinstance(result, str) and compiled.fullmatch(result) is not None


def _object(*keys: str) -> _Form:
    """None, or an object with these keys."""
    return lambda result: result is None or (isinstance(result, dict) and all(key in result for key in keys))


def _logs(result: Any) -> bool:
    keys = ("address", "topics", "data", "blockNumber", "blockHash", "transactionHash", "logIndex")
    return isinstance(result, list) and all(log is not None and _object(*keys)(log) for log in result)


_NUMBER, _BYTES, _HASH = _text("0x[0-9a-f]{1,64}"), _text("0x([0-9a-f]{2})*"), _text("0x[0-9a-f]{64}")
_BLOCK = _object("number", "hash", "timestamp", "gasLimit", "transactions")
_FORMS: dict[str, _Form] = {
    "eth_chainId": _NUMBER,
    "eth_blockNumber": _NUMBER,
    "eth_getTransactionCount": _NUMBER,
    "eth_estimateGas": _NUMBER,
    "eth_call": _BYTES,
    "eth_getCode": _BYTES,
    "eth_sendRawTransaction": _HASH,
    "eth_getBlockByNumber": _BLOCK,
    "eth_getBlockByHash": _BLOCK,
    "eth_getTransactionReceipt": _object(
        "transactionHash", "blockHash", "blockNumber", "status", "gasUsed", "from"
    ),
    "eth_getLogs": _logs,
}
