"""Do a model's maps tell the truth? Measured on rendered images, where the truth is known to the pixel.

A map that looks right proves little (Adebayo et al. 2018). Here a finding's place and the same patient without it are
known exactly, so that each map, and the model itself, can be held against them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor

from fedchest.data.phantom.cases import Case
from fedchest.learning.batches import network_input
from fedchest.learning.evidence import evidence_maps
from fedchest.models.chest import Decision

Decide = Callable[[Tensor], Decision]
"""Such as `ChestModel.decide`: images float32[N,1,H,W] to the evidence and the logits that it adds up to."""

TOLERANCE = 1 / 32
"""Of the image's side: how far beside the mask a map may point; Zhang et al. 2018 (section 4.1) allow 15 pixels."""

PATCH, STEP = 1 / 8, 1 / 16
"""Of the image's side: the square that occlusion covers, and how far apart the squares are."""

_AT_ONCE = 256


@dataclass(frozen=True)
class Figures:
    """How faithful the maps of one label are, over `cases` images that show it.

    `pointing` is the share whose evidence is highest within the finding's mask, `occlusion` the same for the map of
    what covering each place takes from the logit, and `chance` what a point thrown at random would reach. `drop` is
    by how many logits the model follows when the finding is taken out of the image: where it is near nothing, the
    model does not see the finding, and its maps explain something else.
    """

    pointing: float
    occlusion: float
    chance: float
    drop: float
    cases: int


@dataclass(frozen=True)
class Faithfulness:
    """Figures by label, None where a label has no case."""

    labels: Mapping[str, Figures | None]

    @property
    def mean(self) -> Figures | None:
        """The plain mean over the labels that have cases, with their cases in all; None when none has."""
        measured = [figures for figures in self.labels.values() if figures is not None]
        if not measured:
            return None
        return Figures(
            pointing=fmean(figures.pointing for figures in measured),
            occlusion=fmean(figures.occlusion for figures in measured),
            chance=fmean(figures.chance for figures in measured),
            drop=fmean(figures.drop for figures in measured),
            cases=sum(figures.cases for figures in measured),
        )


def measure_faithfulness(
    decide: Decide, label_names: Sequence[str], cases: Mapping[str, Sequence[Case]]
) -> Faithfulness:
    """Hold `decide`, whose labels are `label_names` in order, against `cases` by label.

    Pointing is the game of Zhang et al. 2018 (section 4.1) with masks in place of boxes; occlusion is that of Zeiler
    and Fergus 2014 (section 4.2) and knows nothing of the model's inside. A label without cases is left undefined.
    """
    with torch.inference_mode():
        return Faithfulness(
            {
                name: _figures(decide, label, cases[name]) if cases.get(name) else None
                for label, name in enumerate(label_names)
            }
        )


def occlusion_map(decide: Decide, label: int, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """How much of the logit goes when the place around each pixel of uint8[H,H] is covered: float64[H,H].

    Every covering is a square of PATCH of the side in the grey that means nothing to the network, 0 after
    normalisation; a pixel's value is the mean over the squares that cover it.
    """
    side = len(image)
    patch, step = max(1, round(PATCH * side)), max(1, round(STEP * side))
    corners = sorted({min(start, side - patch) for start in range(0, side, step)})
    squares = [np.s_[..., top : top + patch, left : left + patch] for top in corners for left in corners]
    covered = network_input(image[None]).repeat(len(squares), 1, 1, 1)
    for one, square in zip(covered, squares, strict=True):
        one[square] = 0.0
    falls = _logits(decide, network_input(image[None]))[:, label] - _logits(decide, covered)[:, label]
    total, times = np.zeros((2, side, side))
    for square, fall in zip(squares, falls.tolist(), strict=True):
        total[square] += fall
        times[square] += 1
    return total / times


def _figures(decide: Decide, label: int, cases: Sequence[Case]) -> Figures:
    images = network_input(np.stack([case.image for case in cases]))
    without = network_input(np.stack([case.without for case in cases]))
    near = [_near(case.mask) for case in cases]
    drops = _logits(decide, images)[:, label] - _logits(decide, without)[:, label]
    return Figures(
        pointing=_hit_rate(_maps(decide, images, label), near),
        occlusion=_hit_rate([occlusion_map(decide, label, case.image) for case in cases], near),
        chance=fmean(float(place.mean()) for place in near),
        drop=float(drops.mean()),
        cases=len(cases),
    )


def _logits(decide: Decide, images: Tensor) -> Tensor:
    return torch.cat([decide(some).by_scale.sum(1) for some in _some_at_once(images)])


def _maps(decide: Decide, images: Tensor, label: int) -> npt.NDArray[np.float32]:
    maps = [evidence_maps(decide(some), images.shape[2:])[:, label] for some in _some_at_once(images)]
    return torch.cat(maps).numpy()


def _some_at_once(images: Tensor) -> Iterator[Tensor]:
    return (images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE))


def _near(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask with what is within the tolerance of it."""
    reach = round(TOLERANCE * len(mask))
    near: npt.NDArray[np.bool_] = maximum_filter(mask, 2 * reach + 1)
    return near


def _hit_rate(maps: Iterable[npt.NDArray[Any]], places: Sequence[npt.NDArray[np.bool_]]) -> float:
    return fmean(bool(place.flat[one.argmax()]) for one, place in zip(maps, places, strict=True))
