"""Why a model says what it says about one radiograph: each label's evidence over the image."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from fedchest.learning.batches import network_input
from fedchest.learning.evidence import evidence_maps
from fedchest.models.chest import ChestModel
from fedchest.reporting.figures import picture

_OPACITY = 0.45


class Explained(NamedTuple):
    """One label of one image: its probability (not calibrated), the stride in pixels of the scale that decided, and
    the summed evidence of all scales in logits, float32[H,W]: red speaks for the finding, blue against."""

    label: str
    probability: float
    stride: int
    evidence: npt.NDArray[np.float32]


def explain(model: ChestModel, image: npt.NDArray[np.uint8]) -> list[Explained]:
    """The decision of each label about image uint8[H,W].

    The scale that decided is the one whose evidence moves the logit most in the direction that it went.
    """
    model.eval()
    with torch.inference_mode():
        seen = network_input(image[None])
        probabilities, decision = model.predict(seen)[0].sigmoid(), model.decide(seen)
        logits = decision.by_scale.sum(1)[0]
        deciding = (decision.by_scale[0] * logits.sign()).argmax(0)
        evidence = evidence_maps(decision, image.shape)[0]
    return [
        Explained(
            name,
            float(probabilities[label]),
            model.strides[int(deciding[label])],
            evidence[label].numpy(),
        )
        for label, name in enumerate(model.config.label_names)
    ]


def draw_heatmaps(path: Path, image: npt.NDArray[np.uint8], explained: Sequence[Explained]) -> None:
    """Write the image, and beside it each label's evidence over it, to `path` as PNG. Raises StoreError."""
    with picture(path, 1 + len(explained), figsize=(2.4 * (1 + len(explained)), 2.9)) as [plain, *others]:
        plain.imshow(image, cmap="gray", vmin=0, vmax=255)
        plain.set_title("image", fontsize=8)
        for axes, one in zip(others, explained, strict=True):
            most = max(float(np.abs(one.evidence).max()), 1e-6)
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.imshow(one.evidence, cmap="coolwarm", vmin=-most, vmax=most, alpha=_OPACITY)
            axes.set_title(f"{one.label}\n{one.probability:.2f}, decided at stride {one.stride}", fontsize=8)
        for axes in (plain, *others):
            axes.set_axis_off()
