"""One private step against one plain step: processor time of one thread, and peak memory, by encoder and engine."""

import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.report import Case, run
from fedchest.data.dataset import ChestDataset
from fedchest.learning.memory import keep_freed_memory
from fedchest.models.chest import ChestModel, ModelConfig, build_model

ENCODERS = (
    "xception-nano",
    "legacy_xception",
    "xception41",
    "resnet18",
    "efficientnet_b0",
    "mobilenetv3_small_100",
)
LABELS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
SIZE, BATCH = 96, 32
LEAST_STEPS, MOST_STEPS, SECONDS = 2, 10, 10
"""The fastest step counts; there are as many as fit into the seconds, between the least and the most."""
_WITHOUT_END = 1_000_000
NOISE, CLIPPING, RATE = 1.0, 1.0, 0.01
GPU_SIZE = 320

Step = Callable[[], None]
Training = Callable[[ChestModel, ChestDataset, Step], None]
"""Takes steps without end, and calls its last argument after each."""


class _EnoughError(Exception):
    """Ends a training."""


def measure(encoders: Sequence[str] = ENCODERS) -> list[Case]:
    """Seconds and peak memory of each engine's step; the baseline is the plain step of the same encoder.

    On a machine with a GPU, also images per second there.
    """
    cases = []
    for encoder in encoders:
        seconds, megabytes = _in_own_process(encoder, "plain")
        cases.append(Case(f"{encoder}/plain", "time", seconds))
        cases.append(Case(f"{encoder}/plain", "peak_memory", megabytes))
        for engine in ENGINES:
            if engine != "plain":
                private_seconds, private_megabytes = _in_own_process(encoder, engine)
                cases.append(Case(f"{encoder}/{engine}", "time", private_seconds, seconds))
                cases.append(Case(f"{encoder}/{engine}", "peak_memory", private_megabytes, megabytes))
        if torch.cuda.is_available():
            cases += _on_gpu(encoder)
    return cases


def _in_own_process(encoder: str, engine: str) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_seconds_and_megabytes, encoder, engine).result()


def _repeated(prepare: Callable[[ChestModel, ChestDataset], Step]) -> Training:
    def train(model: ChestModel, data: ChestDataset, on_step: Step) -> None:
        step = prepare(model, data)
        while True:
            step()
            on_step()

    return train


def _seconds_and_megabytes(encoder: str, engine: str) -> tuple[float, float]:
    torch.set_num_threads(1)
    keep_freed_memory()
    ends = [time.process_time()]

    def on_step() -> None:
        ends.append(time.process_time())
        if len(ends) > MOST_STEPS or (len(ends) > LEAST_STEPS and ends[-1] - ends[0] > SECONDS):
            raise _EnoughError

    with suppress(_EnoughError):
        ENGINES[engine](_model(encoder, SIZE), _images(), on_step)
    return min(end - start for start, end in pairwise(ends)), resource.getrusage(
        resource.RUSAGE_SELF
    ).ru_maxrss / 1000


def _model(encoder: str, size: int) -> ChestModel:
    # Without parts: not every engine takes a parameter that the loss ignores.
    return build_model(ModelConfig(LABELS, encoder, size, parts=()), seed=0).train()


def _images() -> ChestDataset:
    random = np.random.default_rng(0)
    return ChestDataset(
        images=random.integers(0, 256, (BATCH, SIZE, SIZE)).astype(np.uint8),
        targets=(random.random((BATCH, len(LABELS))) < 0.3).astype(np.float32),
        mask=np.ones((BATCH, len(LABELS)), np.bool_),
        patients=np.arange(BATCH),
        label_names=LABELS,
    )


def _plain(model: ChestModel, data: ChestDataset) -> Step:
    return _plain_step(model, *_tensors(data), mixed=False)


def _plain_step(model: ChestModel, images: Tensor, targets: Tensor, *, mixed: bool) -> Step:
    optimizer = _sgd(model)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=mixed):
            loss = _loss(model(images).logits, targets).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _fedchest(model: ChestModel, data: ChestDataset, on_step: Step) -> None:
    """The product's own loop, with every patient drawn in each step."""
    from fedchest.learning.dp import DpConstants, train_privately
    from fedchest.learning.objectives import objective_named
    from fedchest.learning.optimisation import Optimisation
    from fedchest.protection.randomness import Randomness

    constants = DpConstants(
        sampling_rate=1.0,
        noise_multiplier=NOISE,
        clipping_norm=CLIPPING,
        steps=_WITHOUT_END,
        images_per_patient=1,
        delta=1e-5,
        expected_patients=BATCH,
    )
    objective, plain = objective_named("bce", private=True), Optimisation("sgd", RATE, momentum=0.0)
    train_privately(
        model, data, constants, plain, objective, Randomness.system(), on_step=lambda step: on_step()
    )


def _opacus(mode: str) -> Callable[[ChestModel, ChestDataset], Step]:
    def prepare(model: ChestModel, data: ChestDataset) -> Step:
        """Opacus as it comes, without this project's samplers for separable convolutions."""
        from opacus import PrivacyEngine
        from opacus.grad_sample import compute_group_norm_grad_sample, register_grad_sampler
        from torch.utils.data import DataLoader, TensorDataset

        from fedchest.models.normalization import GroupNorm

        register_grad_sampler(GroupNorm)(compute_group_norm_grad_sample)
        images, targets = _tensors(data)
        private = PrivacyEngine().make_private(
            module=_Logits(model),
            optimizer=_sgd(model),
            data_loader=DataLoader(TensorDataset(images, targets), batch_size=BATCH),
            criterion=_MeanLoss(),
            noise_multiplier=NOISE,
            max_grad_norm=CLIPPING,
            poisson_sampling=False,
            grad_sample_mode=mode,
        )
        network, optimizer = private[0], private[1]
        criterion = private[2] if mode == "ghost" else _MeanLoss()

        def step() -> None:
            optimizer.zero_grad()
            criterion(network(images), targets).backward()
            optimizer.step()

        return step

    return prepare


def _torch_func(model: ChestModel, data: ChestDataset) -> Step:
    """Per-row gradients of the whole model by `torch.func`, clipped and noised by hand."""
    from torch.func import functional_call, grad, vmap

    images, targets = _tensors(data)
    optimizer = _sgd(model)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}

    def loss(weights: Mapping[str, Tensor], image: Tensor, target: Tensor) -> Tensor:
        return _loss(functional_call(model, dict(weights), (image[None],)).logits, target[None]).sum()

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))

    def step() -> None:
        found = gradients({name: value.detach() for name, value in trained.items()}, images, targets)
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in found.values()]).norm(dim=0)
        scales = (CLIPPING / norms).clamp(max=1.0)
        for name, parameter in trained.items():
            total = torch.tensordot(scales, found[name], 1)
            parameter.grad = (total + torch.randn_like(total) * NOISE * CLIPPING) / BATCH
        optimizer.step()

    return step


def _on_gpu(encoder: str) -> list[Case]:
    """Images per second in mixed precision, of images that are on the GPU already."""
    images = torch.rand(BATCH, 1, GPU_SIZE, GPU_SIZE, device="cuda")
    targets = (torch.rand(BATCH, len(LABELS), device="cuda") < 0.3).float()
    plain = _images_a_second(_plain_step(_model(encoder, GPU_SIZE).cuda(), images, targets, mixed=True))
    private = _images_a_second(_bookkeeping_step(_model(encoder, GPU_SIZE).cuda(), images, targets))
    return [
        Case(f"{encoder}-gpu/plain", "images_per_second", plain),
        Case(f"{encoder}-gpu/fedchest", "images_per_second", private, plain),
    ]


def _images_a_second(step: Step) -> float:
    for _ in range(LEAST_STEPS):
        step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(MOST_STEPS):
        step()
    torch.cuda.synchronize()
    return MOST_STEPS * BATCH / (time.perf_counter() - start)


def _bookkeeping_step(model: ChestModel, images: Tensor, targets: Tensor) -> Step:
    from fedchest.learning.bookkeeping import book_keeping
    from fedchest.learning.owners import Owners

    optimizer, owners = _sgd(model), Owners(torch.arange(BATCH), BATCH)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step() -> None:
        with book_keeping(model) as gradients:
            with torch.autocast(images.device.type, torch.bfloat16):
                loss = _loss(model(images).logits, targets).sum()
            total = gradients.clipped_sum(loss, owners, CLIPPING)
        total.add_(torch.randn_like(total), alpha=NOISE * CLIPPING).div_(BATCH)
        for parameter, gradient in zip(
            trained, torch.split(total, [p.numel() for p in trained]), strict=True
        ):
            parameter.grad = gradient.view_as(parameter)
        optimizer.step()

    return step


class _Logits(nn.Module):
    def __init__(self, model: ChestModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images).logits
        return logits


class _MeanLoss(nn.Module):
    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        by_row = _loss(logits, targets)
        return by_row if self.reduction == "none" else by_row.mean()


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


def _tensors(data: ChestDataset) -> tuple[Tensor, Tensor]:
    from fedchest.learning.batches import network_input

    return network_input(data.images[:]), torch.from_numpy(data.targets)


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=RATE)


ENGINES: Mapping[str, Training] = {
    "plain": _repeated(_plain),
    "fedchest": _fedchest,
    "opacus-hooks": _repeated(_opacus("hooks")),
    "opacus-ghost": _repeated(_opacus("ghost")),
    "torch-func": _repeated(_torch_func),
}


if __name__ == "__main__":
    run("dp_step", measure, ENCODERS)
