"""What verifying a run costs, layer by layer, against hashing the run's artifacts with sha256sum alone."""

import hashlib
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.federations import Overrides, founded, render
from benchmarks.report import Case, run
from fedchest.audit.report import Layer, Outcome
from fedchest.audit.source import chain_source
from fedchest.audit.verify import verify_run
from fedchest.federation.directory import RunDirectory
from fedchest.federation.results import write_results

INSTITUTIONS, PATIENTS, SIZE, ROUNDS = 4, 80, 32, 2
ENCODER = "densenet121"
"""7 million parameters, all of them trained: 28 MB an update."""

REPEATS = 5
MEGA = 1e6


def measure() -> list[Case]:
    """Seconds of each layer, and throughput in MB and updates per second, against sha256sum of the artifacts.

    Where the machine's sha256sum does not use the processor's SHA instructions, Python's hashlib is the harder
    baseline.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = render(Path(folder) / "data", patients=PATIENTS, size=SIZE)
        overrides: Overrides = {
            "data": {"data": data, "image_size": SIZE},
            "model": {"model": "chexnet", "encoder": ENCODER},
            "partition": {"institutions": INSTITUTIONS, "local_validation": 0.0},
            "training": {"rounds": ROUNDS, "steps": 1, "batch": 2},
            "privacy": {"dp": False},
            "protection": {"patients_per_weight_unit": 10},
        }
        with founded(Path(folder) / "run", overrides) as federation:
            write_results(federation.directory, federation.run())
        with chain_source(federation.directory) as source:
            return _cases(federation.directory, source.rpc_url)


def _cases(directory: RunDirectory, rpc_url: str | None) -> list[Case]:
    files = sorted(directory.artifacts.directory.iterdir())
    size = sum(path.stat().st_size for path in files) / MEGA
    updates = INSTITUTIONS * ROUNDS
    measured = [(_sha256sum(files), _hashlib(files), _layers(directory, rpc_url)) for _ in range(REPEATS)]
    plain = median(seconds for seconds, _, _ in measured)
    openssl = median(seconds for _, seconds, _ in measured)
    seconds = {layer: median(layers[layer] for *_, layers in measured) for layer in Layer}
    whole = median(sum(layers.values()) for *_, layers in measured)
    artifacts = seconds[Layer.ARTIFACTS]
    name = f"{len(files)} files, {size:.0f} MB, {updates} updates"
    return [
        *(Case(f"{name}: {layer} layer", "seconds", seconds[layer], plain) for layer in Layer),
        Case(f"{name}: all layers", "seconds", whole, plain),
        Case("artifact layer against hashlib in one process", "seconds", artifacts, openssl),
        Case("artifact layer", "MB/s", size / artifacts, size / plain),
        Case("artifact layer", "updates/s", updates / artifacts, updates / plain),
        Case("all layers", "MB/s", size / whole, size / plain),
        Case("all layers", "updates/s", updates / whole, updates / plain),
    ]


def _sha256sum(files: Sequence[Path]) -> float:
    start = time.perf_counter()
    subprocess.run(["sha256sum", "--binary", *files], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _hashlib(files: Sequence[Path]) -> float:
    start = time.perf_counter()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    return time.perf_counter() - start


def _layers(directory: RunDirectory, rpc_url: str | None) -> dict[Layer, float]:
    """Seconds of each layer of one verification, which has to pass."""
    seconds = dict.fromkeys(Layer, 0.0)
    last = time.perf_counter()

    def note(outcome: Outcome) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[outcome.layer] += now - last
        last = now

    report = verify_run(directory, rpc_url=rpc_url, on_step=note)
    if not report.passed:
        raise RuntimeError(report.sentence())
    return seconds


if __name__ == "__main__":
    run("audit_verify", measure)
