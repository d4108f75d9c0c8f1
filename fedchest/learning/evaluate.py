"""How well a model ranks images: areas under the ROC and the precision-recall curve, per label."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from fedchest.data.dataset import ChestDataset
from fedchest.learning.batches import network_input
from fedchest.learning.metrics import Scores, area_under_roc, mean_of_measured
from fedchest.models.chest import ChestModel

IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class Evaluation:
    """AUROC in [0, 1] by label, None where the labels hold one class only; `images` were scored."""

    auroc: Mapping[str, float | None]
    images: int

    @property
    def mean_auroc(self) -> float | None:
        """Mean over the labels that could be measured; None when none could."""
        return mean_of_measured(self.auroc.values())


def evaluate(model: ChestModel, data: ChestDataset) -> Evaluation:
    """Score every image of `data` and compare with the labels that its mask lets count."""
    scores, truth, mask = predict(model, data), data.targets > 0.5, data.mask
    auroc = {
        name: area_under_roc(scores[mask[:, label], label], truth[mask[:, label], label])
        for label, name in enumerate(data.label_names)
    }
    return Evaluation(auroc, len(data.images))


def predict(model: ChestModel, data: ChestDataset) -> Scores:
    """Logits float32[N,L], in the order of `data`."""
    model.eval()
    device = next(model.parameters()).device
    logits = [np.empty((0, len(data.label_names)), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(data.images), IMAGES_AT_ONCE):
            images = network_input(data.images[start : start + IMAGES_AT_ONCE]).to(device)
            logits.append(model.predict(images).cpu().numpy())
    return np.concatenate(logits)
