"""One way to ask a node over HTTP: each attempt ends in time, and what failed is asked again with patience."""

import json
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, cast

from requests import Session
from requests.exceptions import HTTPError, RequestException
from web3 import HTTPProvider
from web3.types import RPCEndpoint, RPCResponse

from fedchest.errors import ChainError
from fedchest.ledger.answers import BadAnswer, parse, require_usable
from fedchest.ledger.patience import looks, time_left

_ATTEMPT_SECONDS = 20.0
_LARGEST_BYTES = 2**29
_PART_BYTES = 2**16
# Their errors are the caller's to read: a contract's refusal, or a transaction that the chain has already.
_REFUSING = {"eth_call", "eth_estimateGas", "eth_sendRawTransaction"}


class PatientProvider(HTTPProvider):
    """HTTP with retries for `patience` seconds, or for what the `within` around leaves.

    Asked again is whatever has the same effect twice: every read, and a signed transaction, which the chain takes
    once. A development node's own commands are asked once. Raises ChainError, which names the address.
    """

    def __init__(self, rpc_url: str, patience: float) -> None:
        super().__init__(rpc_url, exception_retry_configuration=None)
        self._patience = patience
        self._session = Session()
        self._session.trust_env = (
            False  # no search for proxies in the environment at each of hundreds of calls
        )

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        body = self.encode_rpc_request(method, params)
        return self._ask([method], [json.loads(body)["id"]], body)[0]

    def make_batch_request(
        self, batch_requests: list[tuple[RPCEndpoint, Any]]
    ) -> list[RPCResponse] | RPCResponse:
        bodies = [self.encode_rpc_request(method, params) for method, params in batch_requests]
        ids = [json.loads(body)["id"] for body in bodies]
        return self._ask([method for method, _ in batch_requests], ids, b"[" + b",".join(bodies) + b"]")

    def _ask(self, methods: Sequence[str], ids: Sequence[int], body: bytes) -> list[RPCResponse]:
        repeatable = all(method.startswith("eth_") for method in methods)
        started = time.monotonic()
        for _ in looks(self._patience if repeatable else 0.0):
            try:
                responses = parse(self._post_in_time(body), ids)
                for method, response in zip(methods, responses, strict=True):
                    require_usable(method, response)
                break
            except BadAnswer as bad:
                fault = bad
        else:
            raise ChainError(
                f"No Ethereum node answers at {self.endpoint_uri}; check the RPC address ({fault}, after "
                f"{time.monotonic() - started:.0f} s)."
            )
        for method, response in zip(methods, responses, strict=True):
            if "error" in response and repeatable and method not in _REFUSING:
                raise ChainError(f"The node refused {method}: {response['error']}.")
        return cast(list[RPCResponse], responses)

    def _post_in_time(self, body: bytes) -> bytes:
        """The answer to one attempt, made in a thread of its own.

        No timeout of the HTTP library ends a name that does not resolve or an answer that comes byte by byte.
        Raises BadAnswer.
        """
        seconds = min(_ATTEMPT_SECONDS, time_left())
        outcome: SimpleQueue[bytes | Exception] = SimpleQueue()

        def attempt() -> None:
            try:
                outcome.put(self._post(body, seconds))
            except Exception as error:  # whatever it is, it is raised where the answer is waited for
                outcome.put(error)

        Thread(target=attempt, daemon=True).start()
        try:
            answer = outcome.get(timeout=seconds)
        except Empty:
            raise BadAnswer(f"no answer within {seconds:.0f} s") from None
        if isinstance(answer, Exception):
            raise _fault(answer) from None
        return answer

    def _post(self, body: bytes, seconds: float) -> bytes:
        answer = bytearray()
        end = time.monotonic() + seconds
        with self._session.post(
            str(self.endpoint_uri),
            data=body,
            headers=self.get_request_headers(),
            timeout=max(seconds, 0.001),
            stream=True,
            allow_redirects=False,
        ) as response:
            response.raise_for_status()
            for part in response.iter_content(_PART_BYTES):
                answer += part
                if len(answer) > _LARGEST_BYTES or time.monotonic() > end:
                    raise BadAnswer("the answer does not end")
        return bytes(answer)


def _fault(error: Exception) -> BadAnswer:
    if isinstance(error, BadAnswer):
        return error
    if isinstance(error, HTTPError) and error.response is not None:
        return BadAnswer(f"HTTP status {error.response.status_code}")
    if isinstance(error, RequestException):
        return BadAnswer(f"no connection that holds: {type(error).__name__}")
    return BadAnswer(f"not an address to ask: {error}")
