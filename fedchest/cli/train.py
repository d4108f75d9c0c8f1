"""`fedchest train` and `fedchest pretrain`: one cohort, no federation."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from fedchest.cli.options import ConfigOption, JsonOption, ResumeOption, overrides, settings_options
from fedchest.cli.progress import live_progress
from fedchest.cli.simulate import FAILED, new_run_folder
from fedchest.errors import ConfigError
from fedchest.federation.central import (
    Announce,
    CentralResults,
    resume_centrally,
    train_centrally,
)
from fedchest.federation.config import Settings, read_pretraining, read_settings

SECTIONS = ("data", "model", "training", "privacy", "run")


@click.command()
@ConfigOption
@ResumeOption
@JsonOption
@settings_options(*SECTIONS)
def train(file: Path | None, resumed: Path | None, as_json: bool, **given: Any) -> None:
    """Train a model on one cohort, with or without DP-SGD, and measure it on the validation split.

    The run folder holds a model a round, for `fedchest evaluate` and `fedchest predict`.
    """
    _train(file, resumed, as_json, given, read_settings)


@click.command()
@ConfigOption
@ResumeOption
@JsonOption
@settings_options(*SECTIONS)
def pretrain(file: Path | None, resumed: Path | None, as_json: bool, **given: Any) -> None:
    """Pretrain a model with the loss of --pretraining alone, which may do without labels.

    The last file below RUN/models is what --weights of `train` and `simulate` takes.
    """
    _train(file, resumed, as_json, given, read_pretraining)


def _train(
    file: Path | None,
    resumed: Path | None,
    as_json: bool,
    given: dict[str, Any],
    read: Callable[[Path | None, dict[str, dict[str, Any]]], Settings],
) -> None:
    if resumed is not None:
        if file is not None or overrides(given):
            raise ConfigError("--resume goes on with the run's own settings: give no others.")
        _finish(resumed, as_json, lambda announce: resume_centrally(resumed, announce))
        return
    settings = read(file, overrides(given))
    root = settings.run.out or new_run_folder()
    _finish(root, as_json, lambda announce: train_centrally(settings, root, announce))


def _finish(root: Path, as_json: bool, run: Callable[[Announce], CentralResults]) -> None:
    console = Console(stderr=as_json)
    with live_progress(root, console):
        results = run(lambda stage: console.print(f"[bold]{stage}[/bold]"))
    if as_json:
        click.echo(results.model_dump_json())
    else:
        console.print(_table(results))
        console.print(str(root), soft_wrap=True, highlight=False)
    sys.exit(0 if results.complete else FAILED)


def _table(results: CentralResults) -> Table:
    privacy = (
        "without DP"
        if results.epsilon is None
        else f"epsilon {results.epsilon:.2f} at delta {results.delta:g}"
    )
    table = Table(
        title=f"{results.model}: {results.parameters:,} parameters, {results.images} images, {privacy}"
    )
    for heading in ("round", "objective", "trained", "mean AUROC", "seconds"):
        table.add_column(heading, justify="left" if heading in ("objective", "trained") else "right")
    table.add_row("0", "", results.start, _figure(results.initial_auroc), "")
    for one in results.rounds:
        table.add_row(
            str(one.round), one.objective, one.trained, _figure(one.mean_auroc), f"{one.seconds:.1f}"
        )
    return table


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
