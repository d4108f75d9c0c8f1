"""`fedchest audit`: the trail of a run, its index, its pages, its verification, and inclusion proofs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from fedchest.audit.index import EventIndex
from fedchest.audit.report import Outcome, Report, Verdict
from fedchest.audit.source import run_ledger
from fedchest.audit.verify import verify_run
from fedchest.cli.bundle import check_bundle_command
from fedchest.cli.progress import index_progress
from fedchest.cli.proof import check, prove
from fedchest.cli.prune import prune_command
from fedchest.cli.serve import serve
from fedchest.cli.trail import RpcOption, budget, export, log, rewards, rounds, show, sql
from fedchest.errors import ConfigError
from fedchest.federation.directory import RunDirectory
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.rpc import connect
from fedchest.protection.keys import load_sealing_key

_STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.NOT_CHECKED: "yellow"}


@click.group()
def audit() -> None:
    """Ask a run's trail, index it, or verify the run against its chain."""


_TRAIL = (log, rounds, show, budget, rewards, sql, export, serve)
_PROOFS = (prove, check, check_bundle_command, prune_command)
for command in (*_TRAIL, *_PROOFS):
    audit.add_command(command)


@audit.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="index file to begin or continue",
)
@click.option("--contract", metavar="ADDRESS", help="contract to index, where there is no RUN")
@click.option("--json", "as_json", is_flag=True, help="print what was reached as one JSON object")
@RpcOption
def index(run: Path | None, out: Path, contract: str | None, as_json: bool, rpc: str | None) -> None:
    """Index the events of RUN, or of the contract at --rpc and --contract, into an SQLite file.

    An index that is there already is brought up to the chain; Ctrl-C keeps what was indexed.
    """
    with (
        _ledger(run, rpc, contract) as ledger,
        EventIndex(out, ledger) as events,
        index_progress(Console(stderr=True)) as progress,
    ):
        height = events.sync(progress)
    if as_json:
        click.echo(json.dumps({"index": str(out), "contract": ledger.address, "block": height}))
    else:
        click.echo(f"{out} holds the events of {ledger.address} up to block {height}.")


@audit.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="sealing key that opens the updates; default: the auditor's",
)
@click.option(
    "--data",
    "public_data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="where the public images are that contribution was measured on; default: where the coordinator had them",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="a party's own index, journal, receipts or bundle, which the chain has to agree with; may be repeated",
)
@click.option("--keep-going", is_flag=True, help="list everything that is wrong, not only the first")
@click.option("--json", "as_json", is_flag=True, help="print the report as one JSON object")
@RpcOption
def verify(
    run: Path,
    key: Path | None,
    public_data: Path | None,
    against: tuple[Path, ...],
    keep_going: bool,
    as_json: bool,
    rpc: str | None,
) -> int:
    """Check RUN's chain, artifacts and computation, trusting nobody.

    Exit status: 0 when all of it was checked and is right, 1 when anything is wrong, 2 when the check can't be run, 3
    when nothing wrong was found but something could not be checked.
    """
    if key is not None:
        load_sealing_key(key)  # an unusable key is the user's fault, not the run's
    console = Console()
    report = verify_run(
        RunDirectory(run),
        rpc_url=rpc,
        key=key,
        public_data=public_data,
        against=against,
        keep_going=keep_going,
        on_step=None if as_json else lambda outcome: _show(console, outcome),
    )
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        _show_summary(console, report)
    return report.exit_status


def _show(console: Console, outcome: Outcome) -> None:
    _print_verdict(console, outcome.verdict, f"{outcome.layer:<11} {outcome.step:<13}")
    console.print(outcome.detail, highlight=False, markup=False)
    for finding in outcome.findings[1:]:
        console.print(f"{'':<37}{finding}", highlight=False, markup=False)


def _show_summary(console: Console, report: Report) -> None:
    console.print()
    for layer, (verdict, detail) in report.layers().items():
        _print_verdict(console, verdict, f"{layer:<11}")
        console.print(detail, highlight=False, markup=False)
    console.print(report.sentence(), highlight=False, markup=False)


def _print_verdict(console: Console, verdict: Verdict, name: str) -> None:
    style = _STYLES[verdict]
    console.print(f"[{style}]{verdict:<11}[/{style}] [bold]{name}[/bold]", end=" ")


@contextmanager
def _ledger(run: Path | None, rpc: str | None, contract: str | None) -> Iterator[Ledger]:
    """The contract that RUN pins, or the one named beside a node's address."""
    if run is not None and contract is None:
        with run_ledger(RunDirectory(run), rpc) as ledger:
            yield ledger
    elif run is None and rpc is not None and contract is not None:
        yield LedgerClient(rpc, contract, chain_id=connect(rpc).eth.chain_id)
    else:
        raise ConfigError("Give RUN, or both --rpc URL and --contract ADDRESS.")
