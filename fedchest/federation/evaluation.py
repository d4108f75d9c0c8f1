"""Models on public patients: the only accuracy that the coordinator ever sees."""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.backends import cudnn

from fedchest.aggregation.model import parse_model
from fedchest.contribution.predictions import Predictions, Truth, quantised
from fedchest.data.dataset import ChestDataset
from fedchest.errors import StoreError
from fedchest.federation.directory import (
    COORDINATOR,
    ROUNDS,
    STUDY,
    CoordinatorDocument,
    read_document,
    read_json,
    read_study,
)
from fedchest.federation.study import Study
from fedchest.federation.study_data import study_data
from fedchest.files import write_atomically
from fedchest.learning.calibration import temperature
from fedchest.learning.device import best_device
from fedchest.learning.evaluate import evaluate, predict
from fedchest.models.chest import ChestModel, build_model
from fedchest.models.parameters import Arrays, load_parameters


class PublicFigures(NamedTuple):
    """Mean AUROC and that of each label; None where nothing could be measured."""

    mean_auroc: float | None
    auroc: dict[str, float | None] | None


class PublicEvaluation:
    """Measures models on the study's public set, where it has one."""

    def __init__(self, document: CoordinatorDocument, study: Study, folder: Path) -> None:
        self._document = document
        self._study = study
        self._notes = folder / ROUNDS

    @classmethod
    def open(cls, folder: Path) -> "PublicEvaluation":
        """The evaluation of the coordinator whose folder this is. Raises StoreError."""
        document = read_document(folder / COORDINATOR, CoordinatorDocument)
        return cls(document, read_study(folder / STUDY), folder)

    def measure(self, model: Arrays) -> PublicFigures:
        """The model's figures on the public set; Nones without one."""
        if self._dataset is None:
            return PublicFigures(None, None)
        result = evaluate(self._network(model), self._dataset)
        return PublicFigures(result.mean_auroc, dict(result.auroc))

    def predictions(self, models: Iterable[Arrays]) -> Predictions:
        """What the models say about the public set, one after the other. Raises StoreError without such a set."""
        data = self._dataset
        if data is None:
            raise StoreError("There is no public set to measure contribution on.")
        truth = Truth(data.patients, data.targets > 0.5, data.mask)
        none = np.empty((0, *truth.positive.shape), np.uint16)
        # TF32 would need a wider tolerance for what others infer, and that is room to lie in.
        with cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            logits = [quantised(predict(self._network(model), data))[None] for model in models]
        return Predictions(truth, np.concatenate([none, *logits]))

    def temperatures(self, model: ChestModel) -> dict[str, float | None] | None:
        """By which each label's logits are to be divided, fitted to the public set; None without one."""
        data = self._dataset
        if data is None:
            return None
        scores, truth = predict(model.to(best_device()), data), data.targets > 0.5
        return {
            name: temperature(scores[data.mask[:, label], label], truth[data.mask[:, label], label])
            for label, name in enumerate(data.label_names)
        }

    def note(self, *, finalized_rounds: int, model: bytes, seconds: float) -> PublicFigures:
        """The figures of the model that stands after `finalized_rounds`, measured and written down once."""
        notes = read_json(self._notes) if self._notes.exists() else []
        for note in notes:
            if note["finalized_rounds"] == finalized_rounds:
                return PublicFigures(note["mean_auroc"], note["auroc"])
        figures = self.measure(parse_model(model))
        notes.append({"finalized_rounds": finalized_rounds, "seconds": seconds, **figures._asdict()})
        write_atomically(self._notes, json.dumps(notes, indent=1).encode())
        return figures

    def _network(self, model: Arrays) -> ChestModel:
        network = build_model(self._study.model, seed=0).to(best_device())
        load_parameters(network, model)
        return network

    @cached_property
    def _dataset(self) -> ChestDataset | None:
        document = self._document
        if document.evaluation_data is None:
            return None
        return study_data(self._study, document.evaluation_data, "valid", cache=document.cache)
