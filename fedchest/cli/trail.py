"""`fedchest audit`'s questions to a run's trail: what happened, who spent and earned what, and SQL."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console

from fedchest.audit.contribution import contributions
from fedchest.audit.opening import open_trail
from fedchest.audit.queries import EXPORTS, IndexReader, Row, Selection, kind_named
from fedchest.audit.trail import block_time
from fedchest.cli.bundle import export_bundle
from fedchest.errors import ConfigError, StoreError
from fedchest.federation.directory import RunDirectory
from fedchest.reporting.trail import (
    BUDGET_COLUMNS,
    CONTRIBUTION_COLUMNS,
    PARTICIPATION_COLUMNS,
    REWARD_COLUMNS,
    ROUND_COLUMNS,
    draw_budget,
    draw_timeline,
    events_table,
    facts_table,
    rows_table,
)

Command = Callable[..., Any]
_PATH = click.Path(path_type=Path)

TrailArgument = click.argument("run", type=_PATH, metavar="RUN|INDEX")
RpcOption = click.option(
    "--rpc", metavar="URL", help="read the chain at this JSON-RPC address instead of rebuilding it"
)
LinesOption = click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
PictureOption = click.option("--picture", type=_PATH, metavar="FILE.png", help="draw it to this file too")


def _kind(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    return None if text is None else kind_named(text)


def _time(_context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    return None if text is None else block_time(f"--{parameter.name}", text)


_FILTERS = {
    "round": click.option("--round", type=int, metavar="N", help="only this round"),
    "institution": click.option(
        "--institution", metavar="N|WALLET", help="only this institution, by number or address"
    ),
    "kind": click.option(
        "--kind",
        metavar="NAME",
        callback=_kind,
        help="only events of this name, as UpdateRefused",
    ),
    "since": click.option("--since", metavar="TIME", callback=_time, help="from this time on, ISO 8601, UTC"),
    "until": click.option("--until", metavar="TIME", callback=_time, help="before this time"),
}


def _filters(*names: str) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for name in reversed(names):
            command = _FILTERS[name](command)
        return command

    return add


def _found(
    run: Path, rpc: str | None, question: Callable[[IndexReader, Selection], list[Row]], given: dict[str, Any]
) -> list[Row]:
    with open_trail(run, rpc) as trail:
        return question(trail, _selection(trail, **given))


def _selection(trail: IndexReader, *, institution: str | None = None, **given: Any) -> Selection:
    number = None if institution is None else trail.institution_number(institution)
    return Selection(institution=number, **given)


@click.command()
@TrailArgument
@_filters("round", "institution", "kind", "since", "until")
@LinesOption
@RpcOption
def log(run: Path, as_json: bool, rpc: str | None, **given: Any) -> None:
    """List every event of RUN from the chain, or of an index file."""
    with open_trail(run, rpc) as trail:
        events = trail.events(_selection(trail, **given))
        if as_json:
            _print_lines(events)
        else:
            Console().print(events_table(list(events)))


@click.command()
@TrailArgument
@_filters("round", "institution", "since", "until")
@PictureOption
@LinesOption
@RpcOption
def rounds(run: Path, picture: Path | None, as_json: bool, rpc: str | None, **given: Any) -> None:
    """The timeline: each round's phase, times, members, updates and votes."""
    found = _found(run, rpc, IndexReader.rounds, given)
    _print(found, "Rounds", ROUND_COLUMNS, as_json)
    if picture is not None:
        draw_timeline(picture, found)


@click.command()
@TrailArgument
@_filters("round", "institution", "since", "until")
@PictureOption
@LinesOption
@RpcOption
def budget(run: Path, picture: Path | None, as_json: bool, rpc: str | None, **given: Any) -> None:
    """Each institution's epsilon, as its last selected update states it, against its budget."""
    found = _found(run, rpc, IndexReader.budget, given)
    _print(found, "Epsilon against the budget", BUDGET_COLUMNS, as_json)
    if picture is not None:
        draw_budget(picture, found)


@click.command()
@TrailArgument
@_filters("round", "institution", "since", "until")
@LinesOption
@RpcOption
def rewards(run: Path, as_json: bool, rpc: str | None, **given: Any) -> None:
    """Each institution's credits from the selected rounds, and the scores that they follow, if any."""
    with open_trail(run, rpc) as trail:
        selection = _selection(trail, **given)
        found = trail.rewards(selection)
        scored = contributions(trail, selection, RunDirectory(run).artifacts)
    if as_json:
        _print_lines(
            {**row, "contribution": [one for one in scored if one["institution"] == row["institution"]]}
            for row in found
        )
        return
    Console().print(rows_table("Credits", found, REWARD_COLUMNS))
    if scored:
        title = "Contribution, in millionths of the mean AUROC, with 95 % intervals"
        Console().print(rows_table(title, scored, CONTRIBUTION_COLUMNS))


@click.group()
def show() -> None:
    """One round, institution or update in full."""


@show.command("round")
@TrailArgument
@click.argument("number", type=int)
@LinesOption
@RpcOption
def show_round(run: Path, number: int, as_json: bool, rpc: str | None) -> None:
    """Round NUMBER: its course, and what each member did."""
    with open_trail(run, rpc) as trail:
        found = trail.rounds(Selection(round=number))
        if not found:
            last = max((row["round"] for row in trail.rounds()), default=0)
            raise ConfigError(f"round {number}: the chain has rounds 1 to {last}.")
        members = trail.participation(Selection(round=number))
    _print_case(f"Round {number}", found[0], "Members", members, as_json)


@show.command("institution")
@TrailArgument
@click.argument("name", metavar="N|WALLET")
@_filters("round", "since", "until")
@LinesOption
@RpcOption
def show_institution(run: Path, name: str, as_json: bool, rpc: str | None, **given: Any) -> None:
    """Institution N: its budget, its credits, and what it did in each round."""
    with open_trail(run, rpc) as trail:
        selection = _selection(trail, institution=name, **given)
        (spent,), (earned,) = trail.budget(selection), trail.rewards(selection)
        took_part = trail.participation(selection)
    facts = {**spent, "credits": earned["credits"]}
    _print_case(f"Institution {selection.institution}", facts, "Rounds", took_part, as_json)


@show.command("update")
@TrailArgument
@click.argument("digest", metavar="HASH")
@LinesOption
@RpcOption
def show_update(run: Path, digest: str, as_json: bool, rpc: str | None) -> None:
    """The update with this commitment, sealed, plaintext or manifest hash, or a beginning of it."""
    with open_trail(run, rpc) as trail:
        found = trail.updates(digest)
    if as_json:
        _print_lines(found)
        return
    for row in found:
        Console().print(facts_table(f"Update of institution {row['institution']}, round {row['round']}", row))


@click.command()
@TrailArgument
@click.argument("query", metavar="SELECT")
@LinesOption
@RpcOption
def sql(run: Path, query: str, as_json: bool, rpc: str | None) -> None:
    """Ask the trail by one SELECT of your own; tables and views: docs/index.md."""
    with open_trail(run, rpc) as trail:
        found = trail.select(query)
    _print(found, f"{len(found)} rows", list(found[0]) if found else [], as_json)


@click.command()
@TrailArgument
@click.option(
    "--table", type=click.Choice(EXPORTS), default="events", show_default=True, help="what to export"
)
@_filters("round", "institution", "kind", "since", "until")
@click.option("--out", type=_PATH, metavar="FILE", help="write here instead of to standard output")
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of CSV")
@click.option(
    "--bundle", is_flag=True, help="the whole chain of RUN and its artifacts' hashes, in one signed file"
)
@click.option(
    "--sign", type=_PATH, metavar="KEY", help="with --bundle: the wallet or Ed25519 key (PEM) that signs"
)
@click.option("--with-artifacts", is_flag=True, help="with --bundle: the artifacts themselves too")
@RpcOption
def export(
    run: Path,
    table: str,
    out: Path | None,
    as_json: bool,
    bundle: bool,
    sign: Path | None,
    with_artifacts: bool,
    rpc: str | None,
    **given: Any,
) -> None:
    """Write a table or view of the trail as CSV or JSON lines, or a signed bundle for offline checking."""
    if bundle:
        if as_json or any(value is not None for value in given.values()):
            raise ConfigError(
                "--bundle is of the whole chain, in a form of its own: give no filter, and no --json."
            )
        export_bundle(run, out, sign, with_artifacts, rpc)
        return
    if sign is not None or with_artifacts:
        raise ConfigError("--sign and --with-artifacts go with --bundle.")
    with open_trail(run, rpc) as trail, _writing(out) as file:
        rows = trail.export(table, _selection(trail, **given))
        if as_json:
            file.writelines(f"{json.dumps(row)}\n" for row in rows)
        else:
            _write_csv(file, trail.columns(table), rows)


def _print(rows: Sequence[Row], title: str, columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        _print_lines(rows)
    else:
        Console().print(rows_table(title, rows, columns))


def _print_lines(rows: Iterable[Row]) -> None:
    for row in rows:
        click.echo(json.dumps(row))


def _print_case(title: str, facts: Row, heading: str, took_part: list[Row], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**facts, "participation": took_part}))
        return
    console = Console()
    console.print(facts_table(title, facts))
    console.print(rows_table(heading, took_part, PARTICIPATION_COLUMNS))


@contextmanager
def _writing(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears only when all of it was written."""
    if path is None:
        yield sys.stdout
        return
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path} can't be written: {error.strerror}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def _write_csv(file: TextIO, columns: Sequence[str], rows: Iterable[Row]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_field(value) for value in row.values()] for row in rows)


def _field(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value
