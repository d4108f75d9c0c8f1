"""What every request passes: no foreign host's name, no other site's form, and headers that keep a browser here."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",  # none at all would also take the Origin from the page's own form
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Guard:
    """The outermost layer of the explorer; `hostname` is the name that it is served under beside the usual ones.

    Another site's page can make a browser send requests here, and after changing its own name's address
    (DNS rebinding) read the answers. The first is found by what the browser says of the request's origin, the
    second by the Host header, which then holds the foreign name: only IP addresses, localhost and `hostname` pass.
    """

    def __init__(self, app: ASGIApp, hostname: str) -> None:
        self._app = app
        self._names = {"localhost", hostname.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if scope["type"] != "http":
            return
        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app = self._app if refusal is None else PlainTextResponse(f"{refusal}\n", status_code=403)
        await app(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Mapping[str, str]) -> str | None:
        """Why the request is refused; None when it isn't."""
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname if _well_formed(host) else None
        if name is None or (name not in self._names and not _is_address(name)):
            return "The Host header names neither this machine's address nor the name given by --host."
        if method not in _SAFE_METHODS and not _same_origin(headers, host):
            return "Another site sent this request; it counts only from the explorer's own page."
        return None


def _same_origin(headers: Mapping[str, str], host: str) -> bool:
    """What the browser says; who says neither is no browser, and so no other site's doing."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is None or origin == f"http://{host}"


def _well_formed(host: str) -> bool:
    try:
        parts = urlsplit(f"//{host}")
        return parts.netloc == host and parts.username is None and parts.port != 0
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
