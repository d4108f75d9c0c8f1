"""The learning curves of a run as a picture."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fedchest.federation.directory import RunDirectory
from fedchest.federation.results import Results
from fedchest.reporting.figures import picture


def draw_curves(directory: RunDirectory, results: Results) -> None:
    """Write `curves.png`: AUROC by round (mean bold, labels thin, local-only dashed), and epsilon by round."""
    with picture(directory.curves, 2, figsize=(12, 4)) as [auroc, epsilon]:
        _draw_auroc(auroc, results)
        _draw_epsilon(epsilon, results)


def _draw_auroc(axes: Axes, results: Results) -> None:
    finalized = [figures for figures in results.rounds if figures.finalized]
    mean = [results.initial_auroc, *(figures.mean_auroc for figures in finalized)]
    for label in finalized[0].auroc or {} if finalized else {}:
        values = [(figures.auroc or {}).get(label) for figures in finalized]
        axes.plot(range(1, len(values) + 1), _numbers(values), linewidth=0.8, alpha=0.6, label=label)
    axes.plot(
        range(len(mean)), _numbers(mean), color="black", linewidth=2.5, marker="o", label="mean, federated"
    )
    alone = [i.local_only_auroc for i in results.institutions if i.local_only_auroc is not None]
    for value in alone:
        axes.axhline(value, color="grey", linestyle="--", linewidth=0.8)
    if alone:
        axes.plot([], [], color="grey", linestyle="--", linewidth=0.8, label="mean, one hospital alone")
    axes.set(xlabel="round", ylabel="AUROC on the public set", title="Learning curves")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_epsilon(axes: Axes, results: Results) -> None:
    for number, institution in enumerate(results.institutions):
        spent = [0.0, *(figures.epsilon.get(number, 0.0) for figures in results.rounds)]
        axes.plot(range(len(spent)), spent, marker=".", label=institution.name)
    axes.set(
        xlabel="round",
        ylabel="epsilon",
        title=f"Privacy spent, delta {results.delta:g}" if results.delta else "No DP",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(results.institutions) <= 10:
        axes.legend(fontsize=7)


def _numbers(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
