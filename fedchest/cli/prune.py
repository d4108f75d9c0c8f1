"""`fedchest audit prune`: delete what no proof needs."""

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from fedchest.audit.pruning import prune
from fedchest.cli.trail import RpcOption
from fedchest.federation.directory import RunDirectory

_MEGA = 1e6


@click.command("prune")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    required=True,
    metavar="ROUNDS",
    help="how many of the last settled rounds keep everything",
)
@click.option("--dry-run", is_flag=True, help="only say what would go")
@click.option("--json", "as_json", is_flag=True, help="print what went as one JSON list")
@RpcOption
def prune_command(run: Path, keep: int, dry_run: bool, as_json: bool, rpc: str | None) -> None:
    """Delete the sealed updates and sums of RUN's older rounds; proofs, records and models stay.

    What is gone is listed in pruned.jsonl and can't be verified again: run `fedchest audit verify` before.
    """
    gone = prune(RunDirectory(run), keep, rpc_url=rpc, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps([asdict(artifact) for artifact in gone]))
        return
    table = Table("round", "what", "artifacts", "MB")
    kinds = sorted({(artifact.round, artifact.what) for artifact in gone})
    for kind in kinds:
        sizes = [artifact.bytes for artifact in gone if (artifact.round, artifact.what) == kind]
        table.add_row(str(kind[0]), kind[1], str(len(sizes)), f"{sum(sizes) / _MEGA:.2f}")
    if gone:
        Console().print(table)
    total = sum(artifact.bytes for artifact in gone) / _MEGA
    click.echo(f"{'Would delete' if dry_run else 'Deleted'} {len(gone)} artifacts, {total:.2f} MB.")
