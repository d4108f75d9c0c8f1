"""`fedchest evaluate` and `fedchest predict`: a run's global model on labelled images, and on single ones."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.table import Table

from fedchest.cli.options import JsonOption
from fedchest.data.chexpert import Split
from fedchest.data.images import decode
from fedchest.federation.directory import RunDirectory
from fedchest.federation.run_model import load_run_model
from fedchest.federation.study_data import study_data
from fedchest.learning.evaluate import predict as score
from fedchest.reporting.heatmaps import Explained, Explanation, draw_heatmaps, explain, heatmaps
from fedchest.reporting.performance import draw_roc, measure_performance, performance_table

_PATH = click.Path(path_type=Path)

RunArgument = click.argument("run", type=_PATH)
RoundOption = click.option(
    "--round", "round_number", type=click.IntRange(0), help="model of this round [default: last]"
)


@click.command()
@RunArgument
@click.option(
    "--data",
    "data_folder",
    type=_PATH,
    required=True,
    help="CheXpert or ChestX-ray14 folder with the labelled images",
)
@click.option("--split", type=click.Choice(["train", "valid"]), default="valid", show_default=True)
@RoundOption
@click.option(
    "--resamples", type=click.IntRange(0), default=1000, show_default=True, help="draws of the intervals"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of those draws")
@click.option("--roc", type=_PATH, help="write the ROC curves to this PNG file")
@JsonOption
def evaluate(
    run: Path,
    data_folder: Path,
    split: Split,
    round_number: int | None,
    resamples: int,
    seed: int,
    roc: Path | None,
    as_json: bool,
) -> None:
    """Measure the global model of RUN on labelled images: AUROC and AUPRC with intervals over patients."""
    trained = load_run_model(RunDirectory(run), round_number)
    with TemporaryDirectory() as cache:
        data = study_data(trained.study, data_folder, split, cache=Path(cache))
        scores = score(trained.model, data)
        performance = measure_performance(scores, data, resamples=resamples, seed=seed)
        if roc is not None:
            draw_roc(roc, scores, data, performance)
    if as_json:
        figures = performance.model_dump(mode="json")
        click.echo(json.dumps({"run": str(run), "round": trained.round, **figures}, indent=1))
        return
    Console().print(performance_table(performance))
    if roc is not None:
        click.echo(f"ROC curves: {roc}")


@click.command()
@RunArgument
@click.argument("images", type=_PATH, nargs=-1, required=True)
@RoundOption
@click.option("--out", type=_PATH, help="folder for one picture of heatmaps an image")
@click.option(
    "--explain",
    "explanation",
    type=click.Choice([one.value for one in Explanation]),
    default=Explanation.OCCLUSION.value,
    show_default=True,
    help="what the heatmaps show: what covering a place takes from the decision, or the head's own cells",
)
@JsonOption
def predict(
    run: Path,
    images: tuple[Path, ...],
    round_number: int | None,
    out: Path | None,
    explanation: str,
    as_json: bool,
) -> None:
    """Say what the global model of RUN sees in IMAGES (PNG, JPEG or DICOM), where, and at which scale.

    The probabilities rank images and are no diagnosis; they are calibrated only where the training did so.
    """
    trained = load_run_model(RunDirectory(run), round_number)
    size = trained.study.model.image_size
    decoded = {path: decode(path, size) for path in images}
    found = {path: explain(trained.model, pixels, trained.temperatures) for path, pixels in decoded.items()}
    if out is not None:
        for number, (path, pixels) in enumerate(decoded.items(), start=1):
            maps = heatmaps(trained.model, pixels, Explanation(explanation))
            draw_heatmaps(out / f"{number:03d}-{path.stem}.png", pixels, found[path], maps)
    if as_json:
        click.echo(json.dumps([_as_json(path, labels) for path, labels in found.items()], indent=1))
        return
    Console().print(_prediction_table(found, calibrated=trained.temperatures is not None))
    if out is not None:
        click.echo(f"Heatmaps: {out}")


def _as_json(path: Path, labels: list[Explained]) -> dict[str, object]:
    by_label = {
        one.label: {"probability": one.probability, "stride": one.stride, "logit_by_stride": one.by_stride}
        for one in labels
    }
    return {"image": str(path), "labels": by_label}


def _prediction_table(found: dict[Path, list[Explained]], *, calibrated: bool) -> Table:
    kind = "calibrated" if calibrated else "not calibrated"
    table = Table(title=f"Probability ({kind}), and the stride in pixels of the scale that decided")
    table.add_column("image", overflow="fold")
    for one in next(iter(found.values())):
        table.add_column(one.label, justify="right")
    for path, labels in found.items():
        table.add_row(str(path), *(f"{one.probability:.2f} ({one.stride})" for one in labels))
    return table
