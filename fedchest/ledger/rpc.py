"""One way to reach a node: every wait is bounded, and a node that does not answer is one sentence."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from requests import Session
from requests.exceptions import RequestException
from web3 import HTTPProvider, Web3
from web3.exceptions import BadResponseFormat
from web3.types import RPCEndpoint, RPCResponse

from fedchest.errors import ChainError

LOCAL_CHAIN_ID = 31337
_TIMEOUT_SECONDS = 20
_BATCH = 200


class _Provider(HTTPProvider):
    """HTTP without silent retries, whose failures name the address."""

    def __init__(self, rpc_url: str) -> None:
        super().__init__(
            rpc_url,
            request_kwargs={"timeout": _TIMEOUT_SECONDS},
            session=_session(),
            exception_retry_configuration=None,
        )

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        try:
            return super().make_request(method, params)
        except (RequestException, BadResponseFormat, ValueError):
            raise self._unreachable() from None

    def make_batch_request(
        self, batch_requests: list[tuple[RPCEndpoint, Any]]
    ) -> list[RPCResponse] | RPCResponse:
        try:
            return super().make_batch_request(batch_requests)
        except (RequestException, BadResponseFormat, ValueError):
            raise self._unreachable() from None

    def _unreachable(self) -> ChainError:
        return ChainError(f"No Ethereum node answers at {self.endpoint_uri}; check the RPC address.")


def _session() -> Session:
    """A session that does not look for proxies in the environment at each of a round's hundreds of calls."""
    session = Session()
    session.trust_env = False
    return session


def connect(rpc_url: str) -> Web3:
    """A web3 instance for the node at `rpc_url`.

    Raises ChainError, now and at each later call, when no node answers there.
    """
    w3 = Web3(_Provider(rpc_url))
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


def fetch(w3: Web3, method: Callable[[Any], Any], keys: Sequence[Any]) -> Iterator[Any]:
    """`method` (of web3, or a contract's view) at each of `keys`, in batches of one request each."""
    for start in range(0, len(keys), _BATCH):
        with w3.batch_requests() as batch:
            for key in keys[start : start + _BATCH]:
                batch.add(method(key))
            yield from batch.execute()
