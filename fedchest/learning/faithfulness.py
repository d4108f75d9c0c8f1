"""Do a model's maps tell the truth? Measured on rendered images, where the truth is known to the pixel.

A map that looks right proves little (Adebayo et al. 2018). Here a finding's place and the same patient without it are
known exactly, so that each map, and the model itself, can be held against them.
"""

from collections.abc import Iterable, Mapping, Sequence
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
from fedchest.learning.occlusion import Decide, occlusion_maps, some_at_once

TOLERANCE = 1 / 32
"""Of the image's side: how far beside the mask a map may point; Zhang et al. 2018 (section 4.1) allow 15 pixels."""


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


def _figures(decide: Decide, label: int, cases: Sequence[Case]) -> Figures:
    images = network_input(np.stack([case.image for case in cases]))
    without = network_input(np.stack([case.without for case in cases]))
    near = [_near(case.mask) for case in cases]
    drops = _logits(decide, images)[:, label] - _logits(decide, without)[:, label]
    return Figures(
        pointing=_hit_rate(_maps(decide, images, label), near),
        occlusion=_hit_rate([occlusion_maps(decide, case.image)[label] for case in cases], near),
        chance=fmean(float(place.mean()) for place in near),
        drop=float(drops.mean()),
        cases=len(cases),
    )


def _logits(decide: Decide, images: Tensor) -> Tensor:
    return torch.cat([decide(some).by_scale.sum(1) for some in some_at_once(images)])


def _maps(decide: Decide, images: Tensor, label: int) -> npt.NDArray[np.float32]:
    maps = [evidence_maps(decide(some), images.shape[2:])[:, label] for some in some_at_once(images)]
    return torch.cat(maps).numpy()


def _near(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask with what is within the tolerance of it."""
    reach = round(TOLERANCE * len(mask))
    near: npt.NDArray[np.bool_] = maximum_filter(mask, 2 * reach + 1)
    return near


def _hit_rate(maps: Iterable[npt.NDArray[Any]], places: Sequence[npt.NDArray[np.bool_]]) -> float:
    """Where pixels share the peak, as those of one cell do, it hits by the share of them that does."""
    return fmean(float(place[one == one.max()].mean()) for one, place in zip(maps, places, strict=True))
