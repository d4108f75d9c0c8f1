"""A round with everything on against plain Flower FedAvg with the same local training, and where time goes."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from statistics import fmean
from typing import Any
from unittest.mock import patch

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from benchmarks.federations import Federation, Overrides, founded, render
from benchmarks.report import Case, run
from fedchest.aggregation.model import parse_model
from fedchest.federation.directory import SITE, STUDY, SiteDocument, read_document, read_study
from fedchest.federation.engines.in_process import InProcessGrid
from fedchest.federation.sites import site_folder
from fedchest.federation.trainer import LocalTrainer

INSTITUTIONS, PATIENTS, SIZE = 4, 1600, 64
STEPS = 45
ROUNDS = 3
"""Of which the first does not count: it also fills caches and loads code."""

STAGES = {
    "seal": "clients.site.seal",
    "hash": "clients.site.hashlib.sha256",
    "chain": "fedchest.ledger.transactions.Sender.send",
    "verify": "server.coordinator.accepted_update",
    "aggregate": "server.coordinator.weighted_sum",
}


def measure() -> list[Case]:
    """Seconds of one round: the whole against plain FedAvg, and each stage summed over the institutions."""
    with tempfile.TemporaryDirectory() as folder:
        data = render(Path(folder) / "data", patients=PATIENTS, size=SIZE)
        overrides: Overrides = {
            "data": {"data": data, "image_size": SIZE},
            "partition": {"institutions": INSTITUTIONS, "local_validation": 0.0},
            "training": {"rounds": ROUNDS, "steps": STEPS},
            "privacy": {"delta": 1e-4, "sampling_rate": 0.15},
        }
        with founded(Path(folder) / "run", overrides) as federation:
            plain = plain_round_seconds(federation)
            with stopwatch() as seconds:
                seconds_of_rounds = [figures.seconds or 0.0 for figures in federation.run().rounds]
    return [
        Case("total", "seconds", fmean(seconds_of_rounds[1:]), plain),
        *(Case(stage, "seconds", seconds.get(stage, 0.0) / ROUNDS) for stage in STAGES),
    ]


def plain_round_seconds(federation: Federation) -> float:
    """Mean seconds of a round, after the first, of stock FedAvg whose clients train alike on the same patients."""
    folders = [str(folder) for folder in federation.directory.institutions()]
    grid = InProcessGrid([_plain_client()] * len(folders), folders, federation.settings.run.workers)
    ends: list[float] = []
    FedAvg(fraction_evaluate=0.0, min_available_nodes=len(folders), min_train_nodes=len(folders)).start(
        grid,
        initial_arrays=_arrays(parse_model(federation.prepared.initial.model)),
        num_rounds=ROUNDS,
        evaluate_fn=lambda _round, _arrays: ends.append(time.perf_counter()),
    )
    return (ends[-1] - ends[1]) / (ROUNDS - 1)


def _plain_client() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        folder = site_folder(context.node_config)
        study = read_study(folder / STUDY)
        trainer = LocalTrainer(read_document(folder / SITE, SiteDocument), study, folder)
        received = message.content.array_records["arrays"]
        values = {name: array.numpy() for name, array in received.items()}
        trained = values | trainer.train(values, study.stage(0), 1, "plain")
        content = RecordDict({"arrays": _arrays(trained), "metrics": MetricRecord({"num-examples": 1})})
        return Message(content, reply_to=message)

    return app


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Add up the seconds spent in each of STAGES while the block runs."""
    seconds: dict[str, float] = {}
    with ExitStack() as patches:
        for stage, target in STAGES.items():
            patches.enter_context(_timed(stage, target, seconds))
        yield seconds


@contextmanager
def _timed(stage: str, target: str, seconds: dict[str, float]) -> Iterator[None]:
    original: Callable[..., Any] = resolve_name(target)

    def call(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(*arguments, **named)
        finally:
            seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start

    with patch(target, call):
        yield


def _arrays(values: Mapping[str, NDArray[np.float32]]) -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in values.items()})


if __name__ == "__main__":
    run("round_overhead", measure)
