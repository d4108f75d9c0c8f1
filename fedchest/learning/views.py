"""Which images a step looks at, how often, and the coins that decide how each look differs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedchest.errors import ConfigError
from fedchest.learning.augmentation import COINS, UNALTERED, Augmentation
from fedchest.protection.randomness import Randomness

Vector = npt.NDArray[np.int64]


class Pairing(StrEnum):
    """What the second and later views of an image show."""

    IMAGE = "image"  # the image itself
    PATIENT = "patient"  # another image of the same patient where there is one (MICLe, Azizi et al. 2021)


@dataclass(frozen=True)
class Viewing:
    """How a step sees an image: in `views` upright views, and one more that is turned when `turned`.

    Every view is altered by `augmentation` with coins of its own. Several views of a supervised image are
    averaged before clipping: augmentation multiplicity (De et al. 2022). Raises ConfigError for fewer than one.
    """

    augmentation: Augmentation = UNALTERED
    views: int = 1
    pairing: Pairing = Pairing.IMAGE
    turned: bool = False

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ConfigError(f"views = {self.views}: an image needs at least one view.")

    @property
    def rows_each(self) -> int:
        """Views of one image together, upright and turned."""
        return self.views + self.turned


ONE_VIEW = Viewing()
"""Each image once, as it is."""


@dataclass(frozen=True)
class Look:
    """What is seen of one record, which has n images: `rows` int64[n,V] of the data set, `coins` float32[n,V,COINS].

    It is decided for one record at a time, so that no record changes what is seen of another.
    """

    rows: Vector
    coins: npt.NDArray[np.float32]


def look_at(
    records: Iterable[Vector], viewing: Viewing, random: Randomness, pools: Sequence[Vector] | None = None
) -> list[Look]:
    """A look at each of `records`, int64 rows of one patient.

    With `Pairing.PATIENT` partners come from `pools[i]`, all rows that record i may show; by default the record
    itself, so that a step shows no more images of a patient than were chosen.
    """
    looks = []
    for number, record in enumerate(records):
        pool = record if pools is None else pools[number]
        shape = (len(record), viewing.rows_each, COINS)
        coins = random.uniform(int(np.prod(shape))).reshape(shape).astype(np.float32)
        looks.append(Look(_shown(record, pool, viewing, random), coins))
    return looks


def turns_of(coins: Tensor, viewing: Viewing) -> Tensor:
    """The quarter turns int64[N*V] of views with `coins` float32[N*V,COINS]: 0 but for an image's turned view."""
    turns = torch.zeros(len(coins), dtype=torch.int64, device=coins.device)
    if viewing.turned:
        last = slice(viewing.views, None, viewing.rows_each)
        # Rounded to float32, a coin may be 1.
        turns[last] = (4 * coins[last, -1]).long().clamp(max=3)
    return turns


def _shown(record: Vector, pool: Vector, viewing: Viewing, random: Randomness) -> Vector:
    shown = np.repeat(record[:, None], viewing.rows_each, axis=1)
    if viewing.pairing is Pairing.PATIENT:
        for image in shown:
            others = pool[pool != image[0]]
            if len(others):
                image[1 : viewing.views] = others[random.integers(viewing.views - 1, len(others))]
    return shown
