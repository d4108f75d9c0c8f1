"""Where the bars of a timeline lie: pure arithmetic, drawn by the templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fedchest.audit.queries import Row

WIDTH = 1000
"""Of a timeline, in its own units."""

_NARROWEST = 6


@dataclass(frozen=True)
class Bar:
    """A round's course: from `x` on, `width` wide, of which `proposed` was before a model was proposed."""

    x: int
    width: int
    proposed: int


@dataclass(frozen=True)
class Timeline:
    """The bars by round, and the times of the left and right edge as ISO 8601."""

    bars: Mapping[int, Bar]
    first: str
    last: str


def timeline(rounds: Sequence[Row]) -> Timeline | None:
    """The course of `rounds`, rows of the view of that name; None for none. A round without end reaches the edge."""
    if not rounds:
        return None
    first = min(row["timestamp"] for row in rounds)
    last = max(_last_time(row) for row in rounds)
    scale = WIDTH / max(last - first, 1)
    return Timeline({row["round"]: _bar(row, first, last, scale) for row in rounds}, _iso(first), _iso(last))


def _bar(row: Row, first: int, last: int, scale: float) -> Bar:
    opened: int = row["timestamp"]
    ended = last if row["seconds"] is None else opened + row["seconds"]
    proposed = ended if row["proposed"] is None else _seconds(row["proposed"])
    x = min(round((opened - first) * scale), WIDTH - _NARROWEST)
    width = max(round((ended - opened) * scale), _NARROWEST)
    return Bar(x, width, min(round((proposed - opened) * scale), width))


def _last_time(row: Row) -> int:
    times: list[int] = [row["timestamp"] + (row["seconds"] or 0)]
    if row["proposed"] is not None:
        times.append(_seconds(row["proposed"]))
    return max(times)


def _seconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
