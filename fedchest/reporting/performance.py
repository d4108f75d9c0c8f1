"""A model's performance on labelled images: figures with intervals, as a table, a picture and JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.box import SIMPLE_HEAD
from rich.table import Table
from sklearn.metrics import roc_curve

from fedchest.data.dataset import ChestDataset
from fedchest.data.labels import COMPETITION
from fedchest.learning.bootstrap import Bootstrap, Interval, bootstrap
from fedchest.learning.metrics import Scores, area_under_roc, average_precision
from fedchest.reporting.figures import picture
from fedchest.reporting.tables import NOT_MEASURED


class Figures(BaseModel):
    """AUROC and AUPRC with 95 % intervals; `positives` of `images` are what they rest on, where it is one label."""

    model_config = ConfigDict(frozen=True)

    auroc: Interval
    auprc: Interval
    positives: int | None = None
    images: int | None = None


class Performance(BaseModel):
    """Figures by label and of two means; `mean_of_competition` is of CheXpert's five tasks, where all are there."""

    model_config = ConfigDict(frozen=True)

    images: int
    patients: int
    resamples: int
    labels: Mapping[str, Figures]
    mean: Figures
    mean_of_competition: Figures | None


def measure_performance(scores: Scores, data: ChestDataset, *, resamples: int, seed: int) -> Performance:
    """Compare `scores`, float32[N,L] in the order of `data`, with the labels."""
    auroc, auprc = (
        bootstrap(figure, scores, data, resamples=resamples, seed=seed)
        for figure in (area_under_roc, average_precision)
    )
    has_competition = set(COMPETITION) <= set(data.label_names)
    return Performance(
        images=len(data),
        patients=data.patient_count,
        resamples=resamples,
        labels={
            name: Figures(
                auroc=auroc.label(name),
                auprc=auprc.label(name),
                positives=int((data.targets[:, column] * data.mask[:, column]).sum()),
                images=int(data.mask[:, column].sum()),
            )
            for column, name in enumerate(data.label_names)
        },
        mean=_mean(auroc, auprc, data.label_names),
        mean_of_competition=_mean(auroc, auprc, COMPETITION) if has_competition else None,
    )


def performance_table(performance: Performance) -> Table:
    """One line a label, then the means; a figure that is not defined says so."""
    note = (
        f"{performance.images} images of {performance.patients} patients; 95 % intervals from "
        f"{performance.resamples} draws of patients. A label without positives in some draw has no interval."
    )
    table = Table(title="Performance", caption=note, box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("label", "positive", "AUROC", "AUPRC"):
        table.add_column(heading, justify="left" if heading == "label" else "right", no_wrap=True)
    for name, figures in performance.labels.items():
        table.add_row(
            name, f"{figures.positives} of {figures.images}", _text(figures.auroc), _text(figures.auprc)
        )
    means = {"mean": performance.mean, "mean of the 5 tasks": performance.mean_of_competition}
    for name, mean in means.items():
        if mean is not None:
            table.add_row(name, "", _text(mean.auroc), _text(mean.auprc))
    return table


def draw_roc(path: Path, scores: Scores, data: ChestDataset, performance: Performance) -> None:
    """Write the ROC curve of every label that could be measured to `path` as PNG. Raises StoreError."""
    with picture(path, 1, figsize=(6, 5)) as [axes]:
        for column, name in enumerate(data.label_names):
            value, mask = performance.labels[name].auroc.value, data.mask[:, column]
            if value is not None:
                false, true, _ = roc_curve(data.targets[mask, column] > 0.5, scores[mask, column])
                axes.plot(false, true, linewidth=1.2, label=f"{name} {value:.3f}")
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=0.8)
        axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC by label, with AUROC")
        axes.legend(fontsize=7, loc="lower right")


def probabilities(scores: Scores) -> Scores:
    """Logits as probabilities, float32 in [0, 1]; no calibration is claimed."""
    return (1 / (1 + np.exp(-scores))).astype(np.float32)


def _mean(auroc: Bootstrap, auprc: Bootstrap, names: Sequence[str]) -> Figures:
    return Figures(auroc=auroc.mean(names), auprc=auprc.mean(names))


def _text(interval: Interval) -> str:
    if interval.value is None:
        return NOT_MEASURED
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f} [no interval]"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
