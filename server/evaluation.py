"""The global model on public patients: the only accuracy that the coordinator ever sees."""

import json
from pathlib import Path
from typing import Any

from fedchest.aggregation.model import parse_model
from fedchest.data.chexpert import read_chexpert
from fedchest.data.dataset import ChestDataset, load_dataset
from fedchest.federation.directory import ROUNDS, CoordinatorDocument, read_json
from fedchest.federation.study import Study
from fedchest.files import write_atomically
from fedchest.learning.evaluate import evaluate
from fedchest.models.chest import build_model
from fedchest.models.parameters import load_parameters


class PublicEvaluation:
    """Measures each finalized model once and notes it beside the round's duration in the coordinator's folder."""

    def __init__(self, document: CoordinatorDocument, study: Study, folder: Path) -> None:
        self._document = document
        self._study = study
        self._notes = folder / ROUNDS

    def note(self, *, finalized_rounds: int, model: bytes, seconds: float) -> None:
        """Append the figures of the model that stands after `finalized_rounds`, unless they are there already."""
        notes = read_json(self._notes) if self._notes.exists() else []
        if finalized_rounds in {note["finalized_rounds"] for note in notes}:
            return
        figures = {"finalized_rounds": finalized_rounds, "seconds": seconds, **self._measure(model)}
        write_atomically(self._notes, json.dumps([*notes, figures], indent=1).encode())

    def _measure(self, model: bytes) -> dict[str, Any]:
        data = self._dataset()
        if data is None:
            return {"mean_auroc": None, "auroc": None}
        network = build_model(self._study.model, seed=0)
        load_parameters(network, parse_model(model))
        result = evaluate(network, data)
        return {"mean_auroc": result.mean_auroc, "auroc": result.auroc}

    def _dataset(self) -> ChestDataset | None:
        if self._document.evaluation_data is None:
            return None
        study = self._study
        return load_dataset(
            read_chexpert(self._document.evaluation_data, "valid", views=study.views),
            size=study.model.image_size,
            cache_dir=self._document.cache,
            label_names=study.labels,
            policies=study.uncertainty,
        )
