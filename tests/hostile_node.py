"""A real chain behind a hostile network: an HTTP server that passes requests on to a node, and spoils some answers."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

Respond = Callable[["_Handler", bytes], None]
Plan = Callable[[str, int], str | None]
"""What to do to the n-th request (from 1) of a method: one of `SPOILED`, or None."""


def _answer(handler: "_Handler", body: bytes, status: int = 200, length: int | None = None) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def _changed(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Respond:
    def respond(handler: "_Handler", body: bytes) -> None:
        answer = json.loads(handler.forward(body))
        many = [change(one) for one in answer] if isinstance(answer, list) else change(answer)
        _answer(handler, json.dumps(many).encode())

    return respond


def _hang(handler: "_Handler", body: bytes) -> None:
    handler.server.released.wait(60)  # type: ignore[attr-defined]


def _drip(handler: "_Handler", body: bytes) -> None:
    """Each byte comes in time; the answer never ends."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.released.wait(0.05):  # type: ignore[attr-defined]
        handler.wfile.write(b" ")
        handler.wfile.flush()


def _cut(handler: "_Handler", body: bytes) -> None:
    answer = handler.forward(body)
    _answer(handler, answer[: len(answer) // 2], length=len(answer))
    handler.close_connection = True


def _late(handler: "_Handler", body: bytes) -> None:
    """The node acts at once; the answer comes when nobody waits for it any more."""
    answer = handler.forward(body)
    handler.server.released.wait(0.6)  # type: ignore[attr-defined]
    _answer(handler, answer)


def _close(handler: "_Handler", body: bytes) -> None:
    """The node acts; the answer is lost."""
    handler.forward(body)
    handler.close_connection = True


SPOILED: dict[str, Respond] = {
    "hangs": _hang,
    "drips": _drip,
    "is late": _late,
    "is lost": _close,
    "is cut": _cut,
    "is rubbish": lambda handler, body: _answer(handler, b"<html>try again later</html>"),
    "is not of the form": lambda handler, body: _answer(handler, b'["0x1", null]'),
    "is an HTTP error": lambda handler, body: _answer(handler, b"overloaded", status=503),
    "is an internal error": _changed(
        lambda one: {"jsonrpc": "2.0", "id": one["id"], "error": {"code": -32603, "message": "oh"}}
    ),
    "is of another request": _changed(lambda one: one | {"id": one["id"] + 1}),
    "makes no sense": _changed(lambda one: {"jsonrpc": "2.0", "id": one["id"], "result": "banana"}),
    "is of another chain": _changed(lambda one: one | {"result": "0x1"}),
    "is a huge number": _changed(lambda one: one | {"result": hex(2**40)}),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16  # header and body in one packet: two wait for the kernel's delayed acknowledgement
    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body)
        method = (asked[0] if isinstance(asked, list) else asked)["method"]
        spoiled = self.server.next_fault(method)
        try:
            if spoiled is None:
                _answer(self, self.forward(body))
            else:
                SPOILED[spoiled](self, body)
        except OSError:
            self.close_connection = True  # nobody waits for it any more

    def forward(self, body: bytes) -> bytes:
        return requests.post(
            self.server.node, data=body, headers={"Content-Type": "application/json"}, timeout=30
        ).content

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, node: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.node = node
        self.plan: Plan = lambda method, count: None
        self.seen: Counter[str] = Counter()
        self.released = threading.Event()
        self._counting = threading.Lock()

    def next_fault(self, method: str) -> str | None:
        with self._counting:
            self.seen[method] += 1
            return self.plan(method, self.seen[method])


class HostileNetwork:
    """The network's control: `plan` may be replaced at any time; `seen` counts the requests by method."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.rpc_url = f"http://127.0.0.1:{server.server_address[1]}"

    @property
    def seen(self) -> Counter[str]:
        return self._server.seen

    def spoil(self, plan: Plan) -> None:
        self._server.seen.clear()
        self._server.plan = plan


@contextmanager
def hostile_network(node: str) -> Iterator[HostileNetwork]:
    server = _Server(node)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield HostileNetwork(server)
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
