"""`fedchest data`: render a cohort, look at one, divide one among institutions."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
from PIL import Image
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from fedchest.data.cache import cache_bytes, cached_images
from fedchest.data.chexpert import Split, Views, read_chexpert
from fedchest.data.cohort import Cohort
from fedchest.data.export import write_tree
from fedchest.data.partition import PartitionScheme, partition_patients
from fedchest.data.phantom.writer import write_phantom_cohort
from fedchest.data.reader import has_split, read_cohort
from fedchest.data.summary import CohortSummary, contact_sheet, summarise

_SHEET_IMAGES, _SHEET_SIZE = 12, 128

Command = Callable[..., Any]

_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of tables."
)


def _partition_options(institutions: int) -> Callable[[Command], Command]:
    options = (
        click.option("--institutions", type=click.IntRange(1), default=institutions, show_default=True),
        click.option(
            "--partition",
            "scheme",
            type=click.Choice([scheme.value for scheme in PartitionScheme]),
            default=PartitionScheme.IID.value,
            show_default=True,
            help="How the institutions differ.",
        ),
        click.option(
            "--alpha",
            type=float,
            default=0.5,
            show_default=True,
            help="Smaller is more skewed (dirichlet, quantity).",
        ),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def data() -> None:
    """Render, inspect and divide cohorts in CheXpert's layout."""


@data.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--patients", type=click.IntRange(1), default=400, show_default=True, help="Training patients.")
@click.option("--validation-patients", type=click.IntRange(0), default=100, show_default=True)
@click.option("--size", type=click.IntRange(32), default=64, show_default=True, help="Pixels along a side.")
@click.option(
    "--sites", type=click.IntRange(1), default=4, show_default=True, help="Hospitals, each with its look."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--masks/--no-masks", default=True, show_default=True, help="Write where each finding is.")
@_json_option
def make(
    out: Path,
    patients: int,
    validation_patients: int,
    size: int,
    sites: int,
    seed: int,
    masks: bool,
    as_json: bool,
) -> None:
    """Render a synthetic cohort into OUT/CheXpert-v1.0-small. No patient's data is in it."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Rendering patients", total=patients + validation_patients)
        write_phantom_cohort(
            out,
            patients=patients,
            validation_patients=validation_patients,
            size=size,
            seed=seed,
            sites=sites,
            masks=masks,
            progress=lambda done, _: bar.update(task, completed=done),
        )
    splits: list[Split] = ["train", "valid"] if validation_patients else ["train"]
    _show({split: summarise(read_chexpert(out, split, views="all")) for split in splits}, as_json)


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["train", "valid"]), default="train", show_default=True)
@click.option("--views", type=click.Choice(["frontal", "lateral", "all"]), default="all", show_default=True)
@_partition_options(institutions=1)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("contact-sheet.png"),
    show_default=True,
    help="Where the contact sheet goes: a row of random images per institution.",
)
@_json_option
def inspect(
    folder: Path,
    split: Split,
    views: Views,
    institutions: int,
    scheme: str,
    alpha: float,
    seed: int,
    sheet: Path,
    as_json: bool,
) -> None:
    """Count what the CheXpert tree in FOLDER gives each institution and draw a contact sheet."""
    cohort = read_cohort(folder, split, views=views)
    shares = partition_patients(cohort, institutions, PartitionScheme(scheme), alpha=alpha, seed=seed)
    pixels = contact_sheet(shares, images=_SHEET_IMAGES, size=_SHEET_SIZE, seed=seed)
    try:
        Image.fromarray(pixels).save(sheet, format="PNG")
    except OSError as error:
        raise click.FileError(str(sheet), error.strerror) from None
    _show(_by_name(shares), as_json, sheet=str(sheet))


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@_partition_options(institutions=4)
@_json_option
def partition(
    folder: Path, out: Path, institutions: int, scheme: str, alpha: float, seed: int, as_json: bool
) -> None:
    """Divide the training patients of FOLDER: OUT/institution-1, -2, ... each get a CheXpert tree of their own."""
    cohort = read_chexpert(folder, "train", views="all")
    shares = partition_patients(cohort, institutions, PartitionScheme(scheme), alpha=alpha, seed=seed)
    for number, share in enumerate(shares, start=1):
        write_tree(share, out / f"institution-{number}", "train")
    _show(_by_name(shares), as_json, out=str(out))


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--image-size", type=click.IntRange(1), default=64, show_default=True, help="Pixels along a side."
)
@click.option(
    "--views", type=click.Choice(["frontal", "lateral", "all"]), default="frontal", show_default=True
)
@_json_option
def cache(folder: Path, out: Path, image_size: int, views: Views, as_json: bool) -> None:
    """Decode the images of FOLDER into OUT, which any run on FOLDER then takes as its --cache.

    Interrupted, it goes on where it was when it is called again.
    """
    splits: list[Split] = ["train", "valid"] if has_split(folder, "valid") else ["train"]
    cohorts = {split: read_cohort(folder, split, views=views) for split in splits}
    images = sum(map(len, cohorts.values()))
    needed = sum(cache_bytes(cohort, image_size) for cohort in cohorts.values())
    click.echo(f"{images:,} images of {image_size} pixels take {needed / 1e9:.2f} GB in {out}.", err=True)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for split, cohort in cohorts.items():
            task = bar.add_task(f"Decoding {split}", total=len(cohort))
            cached_images(cohort, image_size, out, progress=partial(_advance, bar, task))
    if as_json:
        click.echo(json.dumps({"images": images, "bytes": needed, "cache": str(out)}, indent=1))


def _advance(bar: Progress, task: TaskID, done: int, _: int) -> None:
    bar.update(task, completed=done)


def _by_name(shares: tuple[Cohort, ...]) -> dict[str, CohortSummary]:
    return {f"institution-{number}": summarise(share) for number, share in enumerate(shares, start=1)}


def _show(summaries: dict[str, CohortSummary], as_json: bool, **written: str) -> None:
    if as_json:
        cohorts = {name: asdict(summary) for name, summary in summaries.items()}
        click.echo(json.dumps({"cohorts": cohorts, **written}, indent=1))
        return
    console = Console()
    console.print(_table(summaries))
    for what, path in written.items():
        console.print(f"{what}: {path}", soft_wrap=True)


def _table(summaries: dict[str, CohortSummary]) -> Table:
    table = Table(title="Per cent of images: affirmed (uncertain)")
    table.add_column("", no_wrap=True)
    for name in summaries:
        table.add_column(name.replace("-", "\n"), justify="right")
    every = list(summaries.values())
    table.add_row("patients (count)", *(f"{summary.patients:,}" for summary in every))
    table.add_row("images (count)", *(f"{summary.images:,}" for summary in every))
    for view in sorted({view for summary in every for view in summary.views}):
        table.add_row(
            f"  {view}", *(f"{_percent(summary.views.get(view, 0), summary.images):.0f}" for summary in every)
        )
    table.add_section()
    for label in every[0].labels:
        table.add_row(label, *(_label_cell(summary, label) for summary in every))
    return table


def _label_cell(summary: CohortSummary, label: str) -> str:
    counts = summary.labels[label]
    if counts.unknown == summary.images:
        return "not labelled"
    return (
        f"{_percent(counts.positive, summary.images):.1f} ({_percent(counts.uncertain, summary.images):.0f})"
    )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole
