"""A run's results as tables for people."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from fedchest.federation.results import InstitutionFigures, Results, RoundFigures
from fedchest.refusals import Reason

NOT_MEASURED = "not measured"


def rounds_table(results: Results) -> Table:
    """One line a round: mean AUROC on the public set, each hospital's epsilon so far, bytes, storage, gas, seconds."""
    table = Table(
        title="Rounds", caption=_guarantee(results), box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for heading in ("round", "AUROC", "epsilon by hospital", "accepted", "sent MB", "kept MB", "gas", "s"):
        table.add_column(heading, justify="right", no_wrap=len(results.institutions) <= 4)
    table.add_row("0", figure(results.initial_auroc), "", "", "", "", "", "")
    for round_figures in results.rounds:
        table.add_row(*_round_row(round_figures, len(results.institutions), results.dp))
    return table


def institutions_table(results: Results) -> Table:
    """The federated model beside each hospital's local-only one, with epsilon, weight class and credits."""
    title = "Federated model and local-only models, mean AUROC on the public set"
    charged = results.dp and any(figures.local_only_auroc is not None for figures in results.institutions)
    note = "Each local-only model was trained with the same DP and charged the same patients once more."
    table = Table(title=title, caption=note if charged else None, box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("model", "mean AUROC", "epsilon", "budget", "weight class", "credits"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    table.add_row("federated", figure(final_auroc(results)), "", "", "", "")
    for institution in results.institutions:
        table.add_row(*_institution_row(institution, results.dp))
    return table


def refusals(results: Results) -> list[str]:
    """One line for each update that was not aggregated."""
    return [
        f"Round {figures.round}: {results.institutions[institution].name} was refused, {Reason(code).name}"
        for figures in results.rounds
        for institution, code in figures.refused.items()
    ]


def final_auroc(results: Results) -> float | None:
    """Mean AUROC of the last finalized model; None where nothing was measured."""
    finalized = [round_figures.mean_auroc for round_figures in results.rounds if round_figures.finalized]
    return finalized[-1] if finalized else results.initial_auroc


def figure(value: float | None) -> str:
    """A figure to three decimals, or that it was not measured."""
    return NOT_MEASURED if value is None else f"{value:.3f}"


def _round_row(figures: RoundFigures, institutions: int, dp: bool) -> list[str]:
    return [
        f"{figures.round}" if figures.finalized else f"{figures.round} (void)",
        figure(figures.mean_auroc),
        " ".join(f"{figures.epsilon[i]:.2f}" if i in figures.epsilon else "-" for i in range(institutions))
        if dp
        else "no DP",
        f"{len(figures.accepted)} of {len(figures.accepted) + len(figures.refused)}",
        f"{figures.sent_bytes / 1e6:.2f}",
        f"{figures.stored_bytes / 1e6:.2f}",
        f"{figures.gas:,}",
        "" if figures.seconds is None else f"{figures.seconds:.1f}",
    ]


def _institution_row(figures: InstitutionFigures, dp: bool) -> list[str]:
    return [
        f"{figures.name} alone",
        figure(figures.local_only_auroc),
        f"{figures.epsilon:.3f}" if dp else "no DP",
        f"{figures.budget:.1f}" if dp else "",
        str(figures.weight_class),
        f"{figures.credits:,}",
    ]


def _guarantee(results: Results) -> str:
    lines = [f"Round 0: {results.start}."]
    if not results.dp:
        lines.append("DP was off: nothing bounds what the updates say about a patient.")
    elif results.reproducible_noise:
        lines.append("Noise was derived from the seed: the guarantee is only accounted, not given.")
    if results.crash_only:
        lines.append("Crash-only majority: this study is not Byzantine-safe.")
    elif len(results.institutions) <= 3:
        lines.append("With 3 hospitals or fewer no fault is tolerated.")
    return " ".join(lines)
