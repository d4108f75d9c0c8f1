"""All benchmarks, written as one table to benchmarks/RESULTS.md with the machine and the versions."""

from pathlib import Path

from rich.console import Console

from benchmarks import (
    audit_verify,
    cache,
    cohort_size,
    consensus,
    contribution,
    dp_step,
    event_index,
    explorer,
    file_ledger,
    gas,
    growth,
    loading,
    round_overhead,
    scale,
    sealing,
    wire,
)
from benchmarks.report import Case, as_table, figures, machine, versions

BENCHMARKS = {
    "sealing": sealing,
    "wire": wire,
    "cache": cache,
    "cohort_size": cohort_size,
    "loading": loading,
    "dp_step": dp_step,
    "round_overhead": round_overhead,
    "scale": scale,
    "event_index": event_index,
    "file_ledger": file_ledger,
    "gas": gas,
    "growth": growth,
    "explorer": explorer,
    "consensus": consensus,
    "audit_verify": audit_verify,
    "contribution": contribution,
}
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    """Run every benchmark, show its table as it is done, and write them all."""
    console = Console()
    measured: list[tuple[str, Case]] = []
    for name, benchmark in BENCHMARKS.items():
        cases = benchmark.measure()
        console.print(as_table(name, cases))
        measured += [(name, case) for case in cases]
    RESULTS.write_text(_markdown(measured), encoding="utf-8")
    console.print(f"Written to {RESULTS}")


def _markdown(measured: list[tuple[str, Case]]) -> str:
    lines = ["# Benchmark results", "", f"Machine: {machine()}.", ""]
    lines += ["Versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()) + ".", ""]
    lines += [
        "| benchmark | case | metric | value | baseline | ratio |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for name, case in measured:
        numbers = " | ".join(figures(number) for number in (case.value, case.baseline, case.ratio))
        lines.append(f"| {name} | {case.case} | {case.metric} | {numbers} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
