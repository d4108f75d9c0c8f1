"""Many calls to a node of this machine, without what web3 does around each: for repeating thousands of blocks."""

import json
import socket
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from fedchest.errors import ChainError
from fedchest.parsing import parse_json

Call = tuple[str, Sequence[Any]]
"""A JSON-RPC method and its parameters."""

_TIMEOUT_SECONDS = 20
_AHEAD = 64  # calls sent before their answers are read, so that the node never waits for the next


def results(rpc_url: str, calls: Sequence[Call]) -> Iterator[Any]:
    """The calls' results; the node runs them in this order, which it need not for a batch.

    They are sent down one connection ahead of their answers (HTTP/1.1's pipelining). Raises ChainError at the first
    that the node refuses, when a few after it may have run, and when it does not answer.
    """
    address = urlsplit(rpc_url)
    try:
        with (
            socket.create_connection((address.hostname, address.port), _TIMEOUT_SECONDS) as connection,
            connection.makefile("rb") as answers,
        ):
            for start in range(0, len(calls), _AHEAD):
                stretch = calls[start : start + _AHEAD]
                connection.sendall(b"".join(_request(address.netloc, *call) for call in stretch))
                for method, _ in stretch:
                    yield _result(method, _body(answers))
    except (OSError, ValueError):
        raise ChainError(f"No Ethereum node answers at {rpc_url}; check the RPC address.") from None


def _request(host: str, method: str, parameters: Sequence[Any]) -> bytes:
    content = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    )
    return head.encode() + b"\r\n\r\n" + content


def _body(answers: BinaryIO) -> bytes:
    """The next answer's content. Raises ValueError when there is none."""
    length = 0
    while (line := answers.readline()) != b"\r\n":
        name, colon, value = line.partition(b":")
        if not line:
            raise ValueError("the connection ended")
        if colon and name.lower() == b"content-length":
            length = int(value)
    return answers.read(length)


def _result(method: str, content: bytes) -> Any:
    response = parse_json(content)
    if "error" in response:
        raise ChainError(f"The node refused {method}: {response['error']}.")
    return response["result"]
