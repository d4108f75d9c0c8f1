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
from fedchest.federation.config import Settings
from fedchest.federation.directory import RunDirectory, read_document
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
    _note_reuse(run, data_folder, split)
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
    help="what the heatmaps show: what covering a place takes from the decision [default], or what each cell adds",
)
@JsonOption
def predict(
    run: Path,
    images: tuple[Path, ...],
    round_number: int | None,
    out: Path | None,
    explanation: str | None,
    as_json: bool,
) -> None:
    """Say what the global model of RUN sees in IMAGES (PNG, JPEG or DICOM), where, and at which scale.

    The probabilities rank images and are no diagnosis; they are calibrated only where the training did so.
    """
    if explanation is not None and out is None:
        raise click.UsageError("--explain says what the heatmaps show: it needs --out, the folder for them.")
    trained = load_run_model(RunDirectory(run), round_number)
    size = trained.study.model.image_size
    decoded = {path: decode(path, size) for path in images}
    found = {path: explain(trained.model, pixels, trained.temperatures) for path, pixels in decoded.items()}
    if out is not None:
        for number, (path, pixels) in enumerate(decoded.items(), start=1):
            maps = heatmaps(trained.model, pixels, Explanation(explanation or Explanation.OCCLUSION))
            draw_heatmaps(out / f"{number:03d}-{path.stem}.png", pixels, found[path], maps)
    if as_json:
        click.echo(json.dumps([_as_json(path, labels) for path, labels in found.items()], indent=1))
        return
    Console().print(_prediction_table(found))
    if out is not None:
        click.echo(f"Heatmaps: {out}")


def _note_reuse(run: Path, data_folder: Path, split: Split) -> None:
    """Say so where the figures flatter the model, because its training read the same images."""
    settings = read_document(RunDirectory(run).settings, Settings)
    use = "learned from" if split == "train" else "was stopped by"
    is_read = split == "train" or settings.training.stopping == "validation"
    if is_read and settings.data.data.resolve() == data_folder.resolve():
        click.echo(f"Note: the training {use} these images, so the figures flatter the model.", err=True)


def _as_json(path: Path, labels: list[Explained]) -> dict[str, object]:
    by_label = {
        one.label: {
            "probability": one.probability,
            "calibrated": one.calibrated,
            "stride": one.stride,
            "logit_by_stride": one.by_stride,
        }
        for one in labels
    }
    return {"image": str(path), "labels": by_label}


def _prediction_table(found: dict[Path, list[Explained]]) -> Table:
    labels = next(iter(found.values()))
    kind = _calibration({one.label: one.calibrated for one in labels})
    table = Table(title=f"Probability ({kind}), and the stride in pixels of the scale that decided")
    table.add_column("image", overflow="fold")
    for one in labels:
        table.add_column(one.label, justify="right")
    for path, labels in found.items():
        table.add_row(str(path), *(f"{one.probability:.2f} ({one.stride})" for one in labels))
    return table


def _calibration(calibrated: dict[str, bool]) -> str:
    if not any(calibrated.values()):
        return "not calibrated"
    without = [label for label, is_calibrated in calibrated.items() if not is_calibrated]
    return "calibrated" + (f", but for {', '.join(without)}" if without else "")
