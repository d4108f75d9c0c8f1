"""The explorer as a web application: routes, and pages for what goes wrong."""

import logging
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from fedchest.audit.queries import IndexReader, open_index
from fedchest.audit.report import Verdict
from fedchest.errors import StoreError
from fedchest.reporting.explorer import pages
from fedchest.reporting.explorer.concealing import Conceal
from fedchest.reporting.explorer.guard import Guard
from fedchest.reporting.explorer.layers import layers
from fedchest.reporting.explorer.rendering import page, rendered
from fedchest.reporting.explorer.verification import Progress, State, Verification

Page = Callable[[Request, IndexReader], Response]

_LOG = logging.getLogger("fedchest.explorer")
_STATIC = Path(__file__).with_name("static")
_WITHOUT_OUTCOME = {
    State.IDLE: "not run yet",
    State.RUNNING: "waiting",
    State.ENDED: Verdict.NOT_CHECKED,
    State.BROKEN: Verdict.NOT_CHECKED,
}
_PAGES: dict[str, Page] = {
    "/": pages.study,
    "/rounds": pages.rounds,
    "/rounds/{number}": pages.round,
    "/institutions": pages.institutions,
    "/institutions/{number}": pages.institution,
    "/budget": pages.budget,
    "/rewards": pages.rewards,
    "/lineage": pages.lineage,
    "/events": pages.events,
    "/updates/{digest}": pages.update,
}


def explorer(
    index: Path, verification: Verification | None, conceal: Conceal, hostname: str = "localhost"
) -> ASGIApp:
    """The application over an index file, opened anew for each request.

    Without `verification` the verify page says that there is no run to verify. `conceal` keeps the machine's
    paths out of what a verification says; `hostname` is a name that requests may address beside IP addresses.
    """

    def verify(request: Request, trail: IndexReader) -> Response:
        if request.method == "POST" and verification is not None:
            verification.start()
            return RedirectResponse("/verify", status_code=303)
        progress = Progress(State.BROKEN) if verification is None else verification.progress()
        return page(
            trail,
            "verify.html",
            possible=verification is not None,
            progress=progress,
            layers=layers(progress.outcomes, _WITHOUT_OUTCOME[progress.state]),
            conceal=conceal,
        )

    routes = [Route(path, _reading(index, one), methods=["GET"]) for path, one in _PAGES.items()]
    routes.append(Route("/verify", _reading(index, verify), methods=["GET", "POST"]))
    application = Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=_STATIC))],
        exception_handlers={HTTPException: _refused, StoreError: _unreadable},
    )
    return Guard(application, hostname)


def _reading(index: Path, answer: Page) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        with open_index(index) as trail:
            return answer(request, trail)

    return endpoint


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {404: "Not found", 405: "Not allowed"}
    detail = "Pages are only read here." if error.status_code == 405 else error.detail
    heading = known.get(error.status_code, "Refused")
    response = rendered("error.html", error.status_code, heading=heading, detail=detail)
    response.headers.update(error.headers or {})
    return response


def _unreadable(request: Request, error: Exception) -> Response:
    """The fault's text names a file of this machine, and so goes to the terminal."""
    _LOG.error("%s", error)
    detail = "The event index can't be read at the moment; the terminal of fedchest audit serve says why."
    return rendered("error.html", 503, heading="Index not readable", detail=detail)
