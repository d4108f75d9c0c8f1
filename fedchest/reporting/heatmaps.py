"""Why a model says what it says about one radiograph: the scale that decided on each label, and the place."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from fedchest.learning.batches import network_input
from fedchest.learning.evidence import deciding_scales, evidence_maps
from fedchest.learning.occlusion import occlusion_maps
from fedchest.models.chest import ChestModel
from fedchest.reporting.figures import picture

_OPACITY = 0.45


Maps = npt.NDArray[np.float32]


class Explained(NamedTuple):
    """One label of one image: its probability and whether that is calibrated, the stride in pixels of the scale that
    decided, and what each scale, by stride, adds to the logit before calibration."""

    label: str
    probability: float
    calibrated: bool
    stride: int
    by_stride: Mapping[int, float]


class Explanation(StrEnum):
    """What a heatmap shows, in logits: red speaks for the finding, blue against."""

    OCCLUSION = "occlusion"  # what goes when the place is covered
    EVIDENCE = "evidence"  # what each cell of the head's maps adds


def explain(
    model: ChestModel, image: npt.NDArray[np.uint8], temperatures: Mapping[str, float]
) -> list[Explained]:
    """The decision of each label about image uint8[H,W], its probability calibrated where the label has a temperature.

    The scale that decided is the one whose evidence moves the logit most in the direction that it went.
    """
    model.eval()
    with torch.inference_mode():
        seen = network_input(image[None])
        logits, decision = model.predict(seen)[0], model.decide(seen)
    names = model.config.label_names
    divisors = [temperatures.get(name, 1.0) for name in names]
    probabilities = (logits / torch.tensor(divisors)).sigmoid()
    by_scale, deciding = decision.by_scale[0], deciding_scales(decision)[0]
    return [
        Explained(
            name,
            float(probabilities[label]),
            name in temperatures,
            model.strides[int(deciding[label])],
            dict(zip(model.strides, by_scale[:, label].tolist(), strict=True)),
        )
        for label, name in enumerate(names)
    ]


def heatmaps(model: ChestModel, image: npt.NDArray[np.uint8], explanation: Explanation) -> Maps:
    """Each label's map of image uint8[H,H]: float32[L,H,H]."""
    model.eval()
    with torch.inference_mode():
        return _EXPLANATIONS[explanation](model, image)


def _evidence(model: ChestModel, image: npt.NDArray[np.uint8]) -> Maps:
    maps: Maps = evidence_maps(model.decide(network_input(image[None])), image.shape)[0].numpy()
    return maps


_EXPLANATIONS: Mapping[Explanation, Callable[[ChestModel, npt.NDArray[np.uint8]], Maps]] = {
    Explanation.OCCLUSION: lambda model, image: occlusion_maps(model.decide, image),
    Explanation.EVIDENCE: _evidence,
}


def draw_heatmaps(
    path: Path, image: npt.NDArray[np.uint8], explained: Sequence[Explained], maps: Maps
) -> None:
    """Write the image, and beside it each label's map over it, to `path` as PNG. Raises StoreError."""
    with picture(path, 1 + len(explained), figsize=(2.4 * (1 + len(explained)), 2.9)) as [plain, *others]:
        plain.imshow(image, cmap="gray", vmin=0, vmax=255)
        plain.set_title("image", fontsize=8)
        for axes, one, values in zip(others, explained, maps, strict=True):
            most = max(float(np.abs(values).max()), 1e-6)
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.imshow(values, cmap="coolwarm", vmin=-most, vmax=most, alpha=_OPACITY)
            axes.set_title(f"{one.label}\n{one.probability:.2f}, decided at stride {one.stride}", fontsize=8)
        for axes in (plain, *others):
            axes.set_axis_off()
