"""A run's trail as tables and pictures for people."""

import json
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from rich.markup import escape
from rich.table import Table

from fedchest.audit.queries import Row
from fedchest.reporting.figures import picture

ROUND_COLUMNS = (
    "round",
    "phase",
    "cause",
    "opened",
    "seconds",
    "members",
    "submitted",
    "accepted",
    "refused",
    "attested",
    "new_model",
)
PARTICIPATION_COLUMNS = (
    "round",
    "institution",
    "commitment",
    "epsilon",
    "outcome",
    "reason",
    "agrees",
    "credits",
)
BUDGET_COLUMNS = ("institution", "wallet", "epsilon_spent", "epsilon_budget", "share", "updates")
CONTRIBUTION_COLUMNS = ("round", "institution", "score", "value", "low", "high", "credits")
REWARD_COLUMNS = ("institution", "wallet", "weight_class", "rounds", "credits", "share")

_SHORT_HASH = 10
_MICRO = 1_000_000
_DAY_SECONDS = 86_400  # matplotlib counts days since 1970
_BAR_INCHES, _MOST_INCHES = 0.25, 40.0
_COLOURS = {
    "FINALIZED": "tab:green",
    "VOID": "tab:red",
    "PROPOSED": "tab:blue",
    "SUBMITTING": "tab:olive",
    "OPEN": "tab:grey",
}


def events_table(rows: Sequence[Row]) -> Table:
    """One line an event, its values abridged."""
    return rows_table(
        f"{len(rows)} events", rows, ("block", "time", "round", "institution", "kind", "values")
    )


def rows_table(title: str, rows: Sequence[Row], columns: Sequence[str]) -> Table:
    """The given columns of `rows`; epsilons in units, shares in percent, hashes abridged."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell(column, row[column])) for column in columns))
    return table


def facts_table(title: str, row: Row) -> Table:
    """One row as lines of name and value, hashes in full."""
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in row.items():
        table.add_row(name, escape(str(value) if isinstance(value, str) else cell(name, value)))
    return table


def draw_timeline(path: Path, rounds: Sequence[Row]) -> None:
    """Write a PNG with a bar a round, from its opening to its end, in the colour of its phase. Raises StoreError."""
    with picture(path, 1, figsize=(10, _height(len(rounds)))) as [axes]:
        for row in rounds:
            opened = row["timestamp"] / _DAY_SECONDS
            axes.barh(
                row["round"], (row["seconds"] or 0) / _DAY_SECONDS, left=opened, color=_COLOURS[row["phase"]]
            )
            axes.plot(opened, row["round"], marker="|", markersize=10, color=_COLOURS[row["phase"]])
        axes.xaxis_date(tz=UTC)
        axes.use_sticky_edges = False  # or the first and the last opening lie on the frame
        _legend(axes, [Patch(color=colour, label=phase) for phase, colour in _COLOURS.items()])
        axes.set(xlabel="time (UTC)", ylabel="round", title="Rounds")
        _count_down(axes)


def draw_budget(path: Path, budget: Sequence[Row]) -> None:
    """Write a PNG with each institution's epsilon spent in front of its budget. Raises StoreError."""
    with picture(path, 1, figsize=(8, _height(len(budget)))) as [axes]:
        numbers = [row["institution"] for row in budget]
        for column, colour in (("epsilon_budget", "lightgrey"), ("epsilon_spent", "tab:blue")):
            axes.barh(numbers, [int(row[column]) / _MICRO for row in budget], color=colour)
        axes.set(xlabel="epsilon", ylabel="institution", title="Privacy spent, against the budget")
        _legend(axes, [Patch(color="lightgrey", label="budget"), Patch(color="tab:blue", label="spent")])
        _count_down(axes)


def _legend(axes: Axes, handles: list[Patch]) -> None:
    axes.legend(handles=handles, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _count_down(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _height(bars: int) -> float:
    return min(1.5 + _BAR_INCHES * bars, _MOST_INCHES)


def cell(name: str, value: Any) -> str:
    """The value of the column `name` in few characters: epsilons in units, shares in percent, hashes abridged."""
    if value is None:
        return ""
    if name.startswith("epsilon") or name == "charged":
        return f"{int(value) / _MICRO:.3f}"
    if name == "share":
        return f"{value:.1%}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell('', item)}" for key, item in value.items())
    if isinstance(value, list):
        return json.dumps(value)
    text = str(value)
    return f"{text[:_SHORT_HASH]}…" if text.startswith("0x") else text
