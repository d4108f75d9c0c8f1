"""Templates to responses: everything is escaped, and what is a number in micro-units or a hash reads as elsewhere."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from fedchest.audit.queries import IndexReader
from fedchest.ledger.records import Check
from fedchest.reporting.explorer.questions import standing
from fedchest.reporting.trail import cell

_KNOWN_CHECKS = sum(Check)


def page(trail: IndexReader, template: str, **context: Any) -> HTMLResponse:
    """A page that says which chain it is of, and up to which block."""
    return rendered(template, standing=standing(trail), **context)


def rendered(template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page; without `standing` in its context it says nothing of a chain."""
    text = _ENVIRONMENT.get_template(template).render({"standing": None, **context})
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})


def _words(name: str) -> str:
    """`own update` for OWN_UPDATE and own_update."""
    return name.replace("_", " ").lower()


def _clock(iso: str | None) -> str:
    """2026-11-23 09:30:00 for 2026-11-23T09:30:00Z."""
    return "" if iso is None else iso.replace("T", " ").removesuffix("Z")


_ENVIRONMENT = Environment(
    loader=PackageLoader("fedchest.reporting.explorer"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"cell": lambda value, name: cell(name, value), "words": _words, "clock": _clock}
_ENVIRONMENT.globals |= {"checks": list(Check), "unknown_checks": lambda mask: mask & ~_KNOWN_CHECKS}
