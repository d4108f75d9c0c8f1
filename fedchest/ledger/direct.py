"""Calls to a node of this machine without what web3 does around each: for repeating thousands of blocks."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from fedchest.errors import ChainError

Call = Callable[..., Any]
"""A JSON-RPC method and its parameters, to the result. Raises ChainError when the node refuses or does not answer."""

_TIMEOUT_SECONDS = 20


@contextmanager
def direct_calls(rpc_url: str) -> Iterator[Call]:
    """Calls to the node at `rpc_url`, each after the answer to the last, on one connection.

    A batch would be quicker still, but a node may run its calls in another order.
    """
    connection = HTTPConnection(urlsplit(rpc_url).netloc, timeout=_TIMEOUT_SECONDS)

    def call(method: str, *parameters: Any) -> Any:
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
        try:
            connection.request("POST", "/", request, {"Content-Type": "application/json"})
            response = json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError):
            raise ChainError(f"No Ethereum node answers at {rpc_url}; check the RPC address.") from None
        if "error" in response:
            raise ChainError(f"The node refused {method}: {response['error']}.")
        return response["result"]

    try:
        yield call
    finally:
        connection.close()
