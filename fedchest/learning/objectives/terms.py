"""What a term of a loss is, and what it may read."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from fedchest.learning.private_inputs import Declared
from fedchest.learning.views import Pairing
from fedchest.models.chest import Output, Part

OBJECTIVE = "objective"


@dataclass(frozen=True)
class Seen:
    """All that a term reads. Rows are N images in V views, an image's side by side: row n*V+v is image n's view v.

    `output` is the network's, `target` the slow copy's on the same rows, without a gradient, `public` the slow
    copy's on M public images; the last two are None where no term needs them. `images` float32[N*V,1,H,W] is
    the network's input, `targets` float32[N*V,L] in [0,1], `mask` bool[N*V,L] says which labels count, `uncertain`
    bool[N*V,L] which have the third answer, `turns` int64[N*V] is the quarter turns applied, `indices` int64[N] the
    data set's rows. `positive_weights` float32[L] is what a positive label counts against a negative one.
    """

    output: Output
    images: Tensor
    targets: Tensor
    mask: Tensor
    uncertain: Tensor
    turns: Tensor
    indices: Tensor
    positive_weights: Tensor
    target: Output | None = None
    public: Output | None = None

    @property
    def views(self) -> int:
        return len(self.turns) // len(self.indices)

    def only(self, views: slice) -> "Seen":
        """With these views of each image alone."""
        every = self.views

        def chosen(rows: Tensor | Output | None) -> Any:
            if rows is None or isinstance(rows, Tensor):
                return (
                    rows if rows is None else rows.reshape(-1, every, *rows.shape[1:])[:, views].flatten(0, 1)
                )
            return Output._make(map(chosen, rows))

        kept = ("indices", "positive_weights", "public")
        return replace(
            self, **{f.name: chosen(getattr(self, f.name)) for f in fields(self) if f.name not in kept}
        )


RowLoss = Callable[[Seen], Tensor]
"""One non-negative value a row, float32[N*V]."""


@dataclass(frozen=True)
class Term:
    """A summand of an objective.

    `start` makes its loss, anew for each training, since some remember past steps. `weight` is its share in a
    sum; `parts` are what the model must have; `views` the fewest upright views of an image; `pairing` what later views
    show. `target` asks for the slow copy, `public` for public images as well, `turned` for a turned view, which is
    then all that the term reads. `coupling` is empty when each value is a function of its own image's patient,
    public data and released parameters; otherwise it says what else is read, and `instead` is the nearest term
    that reads nothing else.
    """

    name: str
    start: Callable[[], RowLoss]
    weight: float = 1.0
    parts: frozenset[Part] = frozenset()
    views: int = 1
    pairing: Pairing = Pairing.IMAGE
    target: bool = False
    public: bool = False
    turned: bool = False
    coupling: str = ""
    instead: str = ""

    @property
    def declared(self) -> Declared:
        """Its private inputs."""
        return Declared(OBJECTIVE, self.name, self.coupling, self.instead)


def stateless(rows: RowLoss) -> Callable[[], RowLoss]:
    """The `start` of a term that remembers nothing."""
    return lambda: rows
