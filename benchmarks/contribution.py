"""What contribution costs a round: predictions, scores, bytes; and how far an inference elsewhere comes out apart."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.report import Case, run
from benchmarks.training import Rendered
from fedchest.aggregation.model import parse_model
from fedchest.contribution.assessment import Trial, assess
from fedchest.contribution.design import Method, Scoring
from fedchest.contribution.predictions import STEP_BITS
from fedchest.data.dataset import ChestDataset
from fedchest.federation.config import read_settings
from fedchest.federation.contribution import AcceptedUpdates, predict_coalitions
from fedchest.federation.evaluation import PublicEvaluation
from fedchest.federation.layout import update_layout
from fedchest.federation.prepare import PreparedRun, prepare
from fedchest.federation.study_data import study_data
from fedchest.learning.batches import network_input
from fedchest.models.chest import ChestModel, build_model
from fedchest.models.parameters import load_parameters
from fedchest.protection.codec import Codec, EncodedUpdate

PATIENTS, PUBLIC, SIZE, PRETRAINED_STEPS = 60, 200, 64, 10
FEDERATIONS = {"fedchest": (4, 16), "chexnet": (4,)}
"""Numbers of institutions whose contribution is measured, by model."""

SCORING = Scoring(Method.SHAPLEY, permutations=8, resamples=200)
_TF32_DROPPED_BITS = 13


def measure() -> list[Case]:
    """Each model's baseline of time is one measurement of a model on the same images, as every round has it."""
    with tempfile.TemporaryDirectory() as folder:
        data = Rendered(PATIENTS, PUBLIC, SIZE).write(Path(folder))
        cases: list[Case] = []
        for name, sizes in FEDERATIONS.items():
            prepared = _prepared(data, Path(folder), name)
            evaluation = PublicEvaluation.open(prepared.directory.coordinator)
            start = time.perf_counter()
            evaluation.measure(parse_model(prepared.initial.model))
            once = time.perf_counter() - start
            for institutions in sizes:
                cases += _round(prepared, evaluation, name, institutions, once)
            cases += _elsewhere(prepared, data, Path(folder) / "cache", name)
        return cases


def _prepared(data: Path, folder: Path, name: str) -> PreparedRun:
    sections: dict[str, dict[str, Any]] = {
        "data": {"data": data, "image_size": SIZE, "cache": folder / "cache"},
        "model": {"model": name, "pretrain_steps": PRETRAINED_STEPS},
        "privacy": {"dp": False},
        "rewards": {"rule": "contribution"},
    }
    return prepare(read_settings(None, sections), folder / name)


def _round(
    prepared: PreparedRun, evaluation: PublicEvaluation, name: str, institutions: int, once: float
) -> list[Case]:
    """Updates of small random steps: what they hold does not change what they cost."""
    layout, codec = update_layout(prepared.study, 0), Codec(prepared.study.norm_bound)
    size = sum(int(np.prod(shape)) for _, shape in layout)
    random = np.random.default_rng(0)
    updates = {
        i: EncodedUpdate(layout, random.integers(-100, 100, size).astype(np.int32))
        for i in range(institutions)
    }
    base = parse_model(prepared.initial.model)
    trial = Trial(SCORING, institutions, bytes(32))
    start = time.perf_counter()
    found = predict_coalitions(
        AcceptedUpdates(base, updates, dict.fromkeys(updates, 1), codec), trial, evaluation
    )
    predicted = time.perf_counter()
    assess(found, trial)
    scored = time.perf_counter()
    case = f"{name}, {institutions} institutions, {len(found.logits)} models, {PUBLIC} images"
    return [
        Case(f"{case}: predictions", "seconds", predicted - start, once),
        Case(f"{case}: scores from them", "seconds", scored - predicted),
        Case(f"{case}: their file", "MB", len(found.to_bytes()) / 1e6),
    ]


def _elsewhere(prepared: PreparedRun, data: Path, cache: Path, name: str) -> list[Case]:
    """Steps between logits here and under other arithmetic, the largest of all images and labels."""
    public = study_data(prepared.study, data, "valid", cache=cache)
    model = build_model(prepared.study.model, seed=0)
    load_parameters(model, parse_model(prepared.initial.model))
    model.eval()
    here = _logits(model, public)
    with torch.backends.mkldnn.flags(enabled=False):
        others = {"without oneDNN": _logits(model, public)}
    others["one image at a time"] = _logits(model, public, together=1)
    with _tf32(model):
        others["convolutions in TF32, emulated"] = _logits(model, public)
    others["float64"] = _logits(model.double(), public, torch.float64)
    return [
        Case(f"{name}: {what}", f"steps of 2^-{STEP_BITS}", float(np.abs(there - here).max() * 2**STEP_BITS))
        for what, there in others.items()
    ]


def _logits(
    model: ChestModel, data: ChestDataset, dtype: torch.dtype = torch.float32, *, together: int = 256
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    batches = range(0, len(data), together)
    with torch.inference_mode():
        found = [model.predict(network_input(data.images[i : i + together]).to(dtype)) for i in batches]
    return torch.cat(found).double().numpy()


@contextmanager
def _tf32(model: ChestModel) -> Iterator[None]:
    """Round what convolutions and linear layers multiply to TF32's 10 bits, as a GPU's tensor cores do."""
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_pre_hook(_rounded_inputs) for layer in layers]
    kept = [layer.weight.detach().clone() for layer in layers]
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(_rounded(layer.weight))
    yield
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for layer, weight in zip(layers, kept, strict=True):
            layer.weight.copy_(weight)


def _rounded_inputs(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(_rounded(one) for one in inputs)


def _rounded(values: Tensor) -> Tensor:
    half = 1 << (_TF32_DROPPED_BITS - 1)
    bits = values.detach().contiguous().view(torch.int32) + half
    return (bits >> _TF32_DROPPED_BITS << _TF32_DROPPED_BITS).view(torch.float32)


if __name__ == "__main__":
    run("contribution", measure)
