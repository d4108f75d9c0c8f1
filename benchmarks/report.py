"""What every benchmark prints: one JSON object with --json, a table otherwise."""

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

PACKAGES = ("fedchest", "cryptography", "flwr", "numpy", "opacus", "torch", "web3")


@dataclass(frozen=True)
class Case:
    """One measured value; `metric` names its unit. `baseline` was measured in the same run, None where none is."""

    case: str
    metric: str
    value: float
    baseline: float | None = None

    @property
    def ratio(self) -> float | None:
        """The value over its baseline."""
        return None if self.baseline is None else self.value / self.baseline


def run(benchmark: str, measure: Callable[..., Sequence[Case]], subjects: Sequence[str] = ()) -> None:
    """Run `measure` and print its cases, as JSON when the command line says --json.

    Where there are `subjects`, `measure` takes those that the command line names, or all when it names none.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{benchmark}")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    if subjects:
        parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(subjects)}")
    arguments = parser.parse_args()
    if subjects:
        chosen = arguments.subjects or subjects
        if unknown := set(chosen).difference(subjects):
            parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(subjects)}")
        cases = measure(chosen)
    else:
        cases = measure()
    if arguments.json:
        print(json.dumps(as_object(benchmark, cases)))
    else:
        Console().print(as_table(benchmark, cases))


def as_object(benchmark: str, cases: Sequence[Case]) -> dict[str, object]:
    """The agreed form: benchmark, machine, versions, cases."""
    return {
        "benchmark": benchmark,
        "machine": machine(),
        "versions": versions(),
        "cases": [
            {
                "case": case.case,
                "metric": case.metric,
                "value": case.value,
                "baseline": case.baseline,
                "ratio": case.ratio,
            }
            for case in cases
        ],
    }


def as_table(benchmark: str, cases: Sequence[Case]) -> Table:
    """The cases as a table for a terminal."""
    table = Table(title=benchmark)
    for heading in ("case", "metric"):
        table.add_column(heading)
    for heading in ("value", "baseline", "ratio"):
        table.add_column(heading, justify="right")
    for case in cases:
        table.add_row(case.case, case.metric, *map(figures, (case.value, case.baseline, case.ratio)))
    return table


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that figures depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def machine() -> str:
    """Processor, usable cores and memory: what a figure depends on, and nothing that names the host."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def figures(number: float | None) -> str:
    """A number to four digits; a dash where there is none."""
    if number is None:
        return "-"
    return f"{number:,.0f}" if abs(number) >= 10_000 else f"{number:.4g}"
