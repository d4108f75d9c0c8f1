"""The pages that read the index: each takes a request and the open index, and gives a rendered answer."""

import re
from collections.abc import Sequence
from itertools import islice

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fedchest.audit.queries import IndexReader, Row, Selection, kind_named
from fedchest.audit.schema import KINDS
from fedchest.errors import ConfigError
from fedchest.reporting.explorer import questions
from fedchest.reporting.explorer.questions import PAGE
from fedchest.reporting.explorer.rendering import page
from fedchest.reporting.explorer.timeline import timeline

_NUMBER = re.compile(r"[0-9]{1,18}")  # SQLite's integers and no further
_OVERVIEW_ROUNDS = 10


def study(request: Request, trail: IndexReader) -> Response:
    """What was agreed at the beginning, how the rounds went, and the newest of them."""
    tally = questions.tally(trail)
    newest = questions.rounds(trail, tally["newest"])[:_OVERVIEW_ROUNDS]
    return page(
        trail,
        "study.html",
        founding=next(trail.events(Selection(kind="StudyCreated")), None),
        tally=tally,
        course=questions.course(trail, tally["newest"]),
        rounds=newest,
        timeline=timeline(newest),
    )


def rounds(request: Request, trail: IndexReader) -> Response:
    """The timeline, newest round first, from `from` back."""
    tally = questions.tally(trail)
    newest = min(max(_asked(request, "from", tally["newest"]), 1), tally["newest"])
    found = questions.rounds(trail, newest)
    return page(
        trail,
        "rounds.html",
        tally=tally,
        course=questions.course(trail, tally["newest"]),
        rounds=found,
        timeline=timeline(found),
        newer=min(newest + PAGE, tally["newest"]) if newest < tally["newest"] else None,
        older=found[-1]["round"] - 1 if found and found[-1]["round"] > 1 else None,
    )


def round(request: Request, trail: IndexReader) -> Response:
    """One round: its course, what each member did, refusals, and every event."""
    number = _number(request.path_params["number"])
    found = trail.rounds(Selection(round=number))
    if not found:
        raise HTTPException(404, f"The chain has no round {number}.")
    members, next_member = _cut(
        questions.members(trail, number, _asked(request, "members", 0)), "institution"
    )
    events = list(islice(trail.events(Selection(round=number)), PAGE + 1))
    return page(
        trail,
        "round.html",
        round=found[0],
        newest=questions.tally(trail)["newest"],
        members=members,
        next_member=next_member,
        refusals=questions.refusals(trail, number),
        events=events[:PAGE],
        more_events=len(events) > PAGE,
    )


def institutions(request: Request, trail: IndexReader) -> Response:
    """Who takes part."""
    rows, following = _cut(questions.institutions(trail, _asked(request, "from", 0)), "institution")
    return page(trail, "institutions.html", rows=rows, following=following)


def institution(request: Request, trail: IndexReader) -> Response:
    """One institution: its budget, its credits, its rounds and its events, newest first."""
    number = _number(request.path_params["number"])
    spent = trail.budget(Selection(institution=number))
    if not spent:
        raise HTTPException(404, f"No institution {number} is registered.")
    newest = questions.tally(trail)["newest"]
    history, older = _cut(questions.history(trail, number, _asked(request, "from", newest)), "round")
    events = questions.events(trail, Selection(institution=number))
    return page(
        trail,
        "institution.html",
        facts={**spent[0], **questions.credits_of(trail, number)},
        history=history,
        older=older,
        events=events[:PAGE],
        more_events=len(events) > PAGE,
    )


def budget(request: Request, trail: IndexReader) -> Response:
    """Each institution's epsilon against its budget."""
    rows, following = _cut(questions.budgets(trail, _asked(request, "from", 0)), "institution")
    return page(trail, "budget.html", rows=rows, following=following)


def rewards(request: Request, trail: IndexReader) -> Response:
    """Each institution's credits."""
    rows, following = _cut(questions.rewards(trail, _asked(request, "from", 0)), "institution")
    return page(trail, "rewards.html", rows=rows, following=following)


def lineage(request: Request, trail: IndexReader) -> Response:
    """Which model came from which, newest first."""
    newest = questions.tally(trail)["newest"]
    rows, older = _cut(questions.lineage(trail, _asked(request, "from", newest)), "round")
    founding = next(trail.events(Selection(kind="InitialModelApproved")), None)
    return page(trail, "lineage.html", rows=rows, older=older, founding=founding)


def events(request: Request, trail: IndexReader) -> Response:
    """Every event, newest first, of one round, institution or kind where they are given."""
    kind = request.query_params.get("kind") or None
    try:
        selection = Selection(
            round=_given(request, "round"),
            institution=_given(request, "institution"),
            kind=None if kind is None else kind_named(kind),
        )
    except ConfigError:
        raise HTTPException(404, f"No event is called {kind}; there are {', '.join(KINDS)}.") from None
    rows = questions.events(trail, selection, _given(request, "before"))
    return page(
        trail,
        "events.html",
        selection=selection,
        kinds=KINDS,
        events=rows[:PAGE],
        before=rows[PAGE - 1]["position"] if len(rows) > PAGE else None,
    )


def update(request: Request, trail: IndexReader) -> Response:
    """The update that one of its hashes names."""
    try:
        found = trail.updates(request.path_params["digest"])
    except ConfigError as error:
        raise HTTPException(404, str(error)) from None
    return page(trail, "update.html", updates=found[:PAGE])


def _asked(request: Request, name: str, default: int) -> int:
    given = _given(request, name)
    return default if given is None else given


def _given(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")  # empty where a form's field was
    return None if text == "" else _number(text)


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise HTTPException(404, "That is no number of a round, an institution or a place in the chain.")
    return int(text)


def _cut(rows: Sequence[Row], key: str) -> tuple[Sequence[Row], int | None]:
    """A page of `rows`, and the key at which the next one begins."""
    return rows[:PAGE], rows[PAGE][key] if len(rows) > PAGE else None
