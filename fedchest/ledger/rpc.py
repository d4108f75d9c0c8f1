"""Asking a node: one method, one method many times, in batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from web3 import HTTPProvider, Web3
from web3.types import BlockIdentifier, RPCEndpoint

from fedchest.errors import ChainError
from fedchest.ledger.provider import PatientProvider

LOCAL_CHAIN_ID = 31337
_BATCH = 200


def connect(rpc_url: str, patience: float = 0.0) -> Web3:
    """A web3 instance for the node at `rpc_url`.

    Raises ChainError, now and at each later call, when no node answers there for `patience` seconds; without
    patience at the first failure.
    """
    w3 = Web3(PatientProvider(rpc_url, patience))
    w3.middleware_onion.remove(
        "validation"
    )  # it asks for the chain's id before every call; transactions carry it
    command(w3, "eth_chainId")
    return w3


def command(w3: Web3, method: str, *parameters: Any) -> Any:
    """The result of a JSON-RPC method. Raises ChainError when the node refuses it."""
    response = w3.provider.make_request(RPCEndpoint(method), list(parameters))
    if "error" in response:
        raise ChainError(f"The node refused {method}: {response['error']}.")
    return response["result"]


def commands(w3: Web3, method: str, parameters: Sequence[Sequence[Any]]) -> list[Any]:
    """The results of a JSON-RPC method at each of `parameters`, as the node gives them, in batches of one request each.

    Raises ChainError when the node refuses one of them.
    """
    assert isinstance(w3.provider, HTTPProvider)
    results: list[Any] = []
    for start in range(0, len(parameters), _BATCH):
        batch = [(RPCEndpoint(method), list(one)) for one in parameters[start : start + _BATCH]]
        responses = w3.provider.make_batch_request(batch)
        for response in responses if isinstance(responses, list) else [responses]:
            if "error" in response:
                raise ChainError(f"The node refused {method}: {response['error']}.")
            results.append(response["result"])
    return results


def last_final(w3: Web3, depth: int) -> BlockIdentifier:
    """The newest block with `depth` blocks on top, which is where a chain that reorganises is believed."""
    return "latest" if depth == 0 else max(w3.eth.block_number - depth, 0)


def fetch(w3: Web3, method: Callable[[Any], Any], keys: Sequence[Any]) -> Iterator[Any]:
    """`method` (of web3, or a contract's view) at each of `keys`, in batches of one request each."""
    for start in range(0, len(keys), _BATCH):
        with w3.batch_requests() as batch:
            for key in keys[start : start + _BATCH]:
                batch.add(method(key))
            yield from batch.execute()
