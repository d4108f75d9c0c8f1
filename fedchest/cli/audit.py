"""`fedchest audit`: the trail of a run, and its verification."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from fedchest.audit.report import Outcome, Verdict
from fedchest.audit.source import chain_source
from fedchest.audit.trail import event_json, institution_number, select
from fedchest.audit.verify import verify_run
from fedchest.errors import ChainError
from fedchest.federation.directory import CONNECTION, Connection, RunDirectory, read_document
from fedchest.ledger.client import LedgerClient
from fedchest.protection.keys import load_sealing_key

_STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.NOT_CHECKED: "yellow"}
_SHORT_HASH = 10

_run = click.argument("run", type=click.Path(path_type=Path))
_rpc = click.option(
    "--rpc", metavar="URL", help="read the chain at this JSON-RPC address instead of rebuilding it"
)


@click.group()
def audit() -> None:
    """Read a run's trail, or verify the run against its chain."""


@audit.command()
@_run
@click.option("--round", "round_number", type=int, metavar="N", help="only this round")
@click.option("--institution", metavar="N|WALLET", help="only this institution, by number or address")
@click.option("--kind", metavar="NAME", help="only events of this name, as UpdateRefused")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
@_rpc
def log(
    run: Path,
    round_number: int | None,
    institution: str | None,
    kind: str | None,
    as_json: bool,
    rpc: str | None,
) -> None:
    """List every event of RUN from the chain."""
    directory = RunDirectory(run)
    with chain_source(directory, rpc) as source:
        if source.rpc_url is None:
            raise ChainError(f"No journal below {run} gives a chain; fedchest audit verify says why.")
        pinned = read_document(directory.auditor / CONNECTION, Connection)
        ledger = LedgerClient(source.rpc_url, pinned.contract, chain_id=pinned.chain_id)
        number = None if institution is None else institution_number(institution, ledger.institutions())
        events = select(ledger.events(), round=round_number, institution=number, kind=kind)
    rows = [event_json(event) for event in events]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        Console().print(_event_table(rows))


@audit.command()
@_run
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="sealing key that opens the updates; default: the auditor's",
)
@click.option("--json", "as_json", is_flag=True, help="print the report as one JSON object")
@_rpc
def verify(run: Path, key: Path | None, as_json: bool, rpc: str | None) -> int:
    """Check RUN against its chain, trusting nobody.

    Exit status: 0 when every step passed, 1 when something is wrong, 2 when not everything could be checked.
    """
    if key is not None:
        load_sealing_key(key)  # an unusable key is the user's fault, not the run's
    console = Console()
    report = verify_run(
        RunDirectory(run),
        rpc_url=rpc,
        key=key,
        on_step=None if as_json else lambda outcome: _show(console, outcome),
    )
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        console.print(report.sentence(), highlight=False, markup=False)
    return report.exit_status


def _show(console: Console, outcome: Outcome) -> None:
    style = _STYLES[outcome.verdict]
    console.print(f"[{style}]{outcome.verdict:<11}[/{style}] [bold]{outcome.step:<13}[/bold]", end=" ")
    console.print(outcome.detail, highlight=False, markup=False)


def _event_table(rows: list[dict[str, object]]) -> Table:
    table = Table(title=f"{len(rows)} events")
    for heading in ("block", "time", "round", "institution", "event", "values"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        values = row["values"]
        assert isinstance(values, dict)
        text = ", ".join(f"{key} {_short(value)}" for key, value in values.items())
        cells = [row[key] for key in ("block", "time", "round", "institution", "kind")]
        table.add_row(*("" if cell is None else str(cell) for cell in cells), text)
    return table


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:_SHORT_HASH]}…" if text.startswith("0x") else text
