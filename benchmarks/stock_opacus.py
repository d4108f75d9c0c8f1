"""Opacus as it comes, at the constants of a study: the reference that our private training stands beside."""

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fedchest.aggregation.model import parse_model
from fedchest.data.dataset import ChestDataset
from fedchest.federation.config import read_settings
from fedchest.federation.prepare import prepare
from fedchest.federation.study import Study
from fedchest.federation.study_data import study_data
from fedchest.learning.batches import network_input
from fedchest.learning.evaluate import evaluate
from fedchest.learning.objectives import masked_bce
from fedchest.learning.reach import train_only
from fedchest.models.chest import ChestModel, build_model
from fedchest.models.normalization import GroupNorm
from fedchest.models.parameters import load_parameters

Sections = Mapping[str, Mapping[str, Any]]


def stock_opacus_auroc(data: Path, cache: Path, sections: Sections) -> float | None:
    """Mean AUROC on the validation split of the same start, constants and number of steps, by PrivacyEngine's loop.

    Opacus's unit is the image, so each patient gives its first image only, and the objective is masked BCE.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_auroc, data, cache, sections).result()


def _auroc(data: Path, cache: Path, sections: Sections) -> float | None:
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        places: dict[str, dict[str, Any]] = {
            "data": {"data": data, "cache": cache},
            "partition": {"institutions": 1},
            "privacy": {"epsilon_ledger": root / "epsilon"},
        }
        given = {name: {**sections.get(name, {}), **places.get(name, {})} for name in {*sections, *places}}
        prepared = prepare(read_settings(None, given), root / "run")
        study = prepared.study
        model = build_model(study.model, seed=0)
        load_parameters(model, parse_model(prepared.initial.model))
        train_only(model, study.stages[0].trainable, study.objective(study.stages[0]), study.viewing)
        _train(model, study_data(study, data, "train", cache=cache), study)
        return evaluate(model, study_data(study, data, "valid", cache=cache)).mean_auroc


def _train(model: ChestModel, data: ChestDataset, study: Study) -> None:
    from opacus import PrivacyEngine
    from opacus.grad_sample import compute_group_norm_grad_sample, register_grad_sampler

    register_grad_sampler(GroupNorm)(compute_group_norm_grad_sample)
    assert study.privacy is not None
    firsts = np.array([data.rows_of(patient)[0] for patient in range(data.patient_count)])
    tensors = (
        network_input(data.images[firsts]),
        torch.from_numpy(data.targets[firsts]),
        torch.from_numpy(data.mask[firsts]),
    )
    optimisation = study.optimisation
    optimizer = torch.optim.SGD(
        [value for value in model.parameters() if value.requires_grad],
        lr=optimisation.learning_rate,
        momentum=optimisation.momentum,
    )
    batch = round(study.privacy.sampling_rate * len(firsts))
    network, optimizer, loader = PrivacyEngine().make_private(
        module=_Logits(model),
        optimizer=optimizer,
        data_loader=DataLoader(TensorDataset(*tensors), batch_size=batch),
        noise_multiplier=study.privacy.noise_multiplier,
        max_grad_norm=study.privacy.clipping_norm,
    )
    network.train()
    left = study.rounds * study.steps
    while left:
        for images, targets, mask in loader:
            optimizer.zero_grad()
            masked_bce(network(images), targets, mask).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            left -= 1
            if not left:
                return


class _Logits(nn.Module):
    """Opacus wraps modules whose output is one tensor."""

    def __init__(self, model: ChestModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images).logits
        return logits
