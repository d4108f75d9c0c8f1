"""`fedchest simulate` and `fedchest demo`: a whole federation on one machine."""

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from fedchest.audit.report import Report
from fedchest.audit.verify import verify_run
from fedchest.cli.options import ConfigOption, JsonOption, ResumeOption, overrides, settings_options
from fedchest.cli.progress import live_progress
from fedchest.data.phantom.writer import write_phantom_cohort
from fedchest.errors import ConfigError
from fedchest.federation.config import Settings, read_settings
from fedchest.federation.directory import RunDirectory, read_document
from fedchest.federation.results import Results
from fedchest.federation.simulate import Announce
from fedchest.federation.simulate import resume as resume_run
from fedchest.federation.simulate import simulate as simulate_run
from fedchest.reporting.curves import draw_curves
from fedchest.reporting.tables import institutions_table, refusals, rounds_table

FAILED = 1
DEMO_SETTINGS = Path(__file__).with_name("demo.toml")
DEMO_PATIENTS, DEMO_PUBLIC_PATIENTS, DEMO_MOST_STUDIES, DEMO_SEED = 8000, 600, 2, 1


@click.command()
@ConfigOption
@ResumeOption
@JsonOption
@settings_options()
def simulate(file: Path | None, resumed: Path | None, as_json: bool, **given: Any) -> None:
    """Train a federation of hospitals on one machine, from a CheXpert folder to a verified global model.

    Each setting below can also stand in a TOML file, in the table that the brackets name.
    """
    if resumed is not None:
        if file is not None or overrides(given):
            raise ConfigError("--resume goes on with the run's own settings: give no others.")
        _finish(resumed, as_json, lambda announce: resume_run(resumed, announce))
        return
    settings = read_settings(file, overrides(given))
    root = settings.run.out or new_run_folder()
    _finish(root, as_json, lambda announce: simulate_run(settings, root, announce))


@click.command()
@JsonOption
@settings_options()
def demo(as_json: bool, **given: Any) -> None:
    """Render a small synthetic cohort and run a federation of 4 hospitals on it with DP-SGD on."""
    chosen = overrides(given)
    root = Path(chosen.get("run", {}).get("out") or new_run_folder())
    cohort = root.with_name(root.name + "-cohort")
    renders = "data" not in chosen.get("data", {})
    chosen.setdefault("data", {}).setdefault("data", cohort)
    settings = read_settings(DEMO_SETTINGS, chosen)

    def render_and_run(announce: Announce) -> Results:
        if renders:
            announce(
                f"Rendering {DEMO_PATIENTS} synthetic patients and {DEMO_PUBLIC_PATIENTS} for the public set"
            )
            _render(cohort, settings)
        return simulate_run(settings, root, announce)

    _finish(root, as_json, render_and_run)


def _render(cohort: Path, settings: Settings) -> None:
    write_phantom_cohort(
        cohort,
        patients=DEMO_PATIENTS,
        validation_patients=DEMO_PUBLIC_PATIENTS,
        size=settings.data.image_size,
        seed=DEMO_SEED,
        sites=settings.partition.institutions,
        masks=False,
        most_studies=DEMO_MOST_STUDIES,
    )


def _finish(root: Path, as_json: bool, run: Callable[[Announce], Results]) -> None:
    """Run with live progress, show the results, let the audit speak, and exit 0 only if all of it is well."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    console = Console(stderr=as_json)
    with live_progress(root, console):
        results = run(lambda stage: console.print(f"[bold]{stage}[/bold]"))
    directory = RunDirectory(root)
    draw_curves(directory, results)
    console.print("[bold]Auditing: rebuilding the chain, re-opening and re-aggregating every update[/bold]")
    report = verify_run(directory, rpc_url=read_document(directory.settings, Settings).chain.rpc)
    if as_json:
        click.echo(
            json.dumps({**results.model_dump(mode="json"), "audit": report.to_json(), "run": str(root)})
        )
    else:
        _show(console, results, report, directory)
    sys.exit(0 if results.complete and report.passed else FAILED)


def _show(console: Console, results: Results, report: Report, directory: RunDirectory) -> None:
    console.print(rounds_table(results))
    for line in refusals(results):
        console.print(line)
    console.print(institutions_table(results))
    console.print(f"Learning curves: {directory.curves}", soft_wrap=True)
    console.print(
        "Each hospital recomputed the model from the sum, and its own update's fingerprint; a round stands only if "
        "the fingerprints add up to the sum's (docs/protocol.md). The audit, which holds a key, added up the updates."
    )
    console.print(report.sentence())
    console.print(str(directory.root), soft_wrap=True, highlight=False)


def new_run_folder() -> Path:
    """A folder below `runs` named by the time."""
    return Path("runs") / time.strftime("%Y%m%d-%H%M%S")
