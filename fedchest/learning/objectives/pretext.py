"""Terms whose question has an answer without labels."""

import torch
from torch import Tensor
from torch.nn import functional

from fedchest.learning.objectives.contrastive import same_image
from fedchest.learning.objectives.terms import Seen, Term, stateless
from fedchest.models.chest import Part

SIAMESE_MARGIN = 1.0
INSTANCE_TEMPERATURE = 0.07


def rotation(seen: Seen) -> Tensor:
    """Cross-entropy of which quarter turn the view was given (Gidaris et al. 2018, eq. 1)."""
    assert seen.output.rotation is not None
    return functional.cross_entropy(seen.output.rotation, seen.turns, reduction="none")


def reconstruction(seen: Seen) -> Tensor:
    """Mean squared error of the decoded image against the network's input."""
    assert seen.output.reconstruction is not None
    return (seen.output.reconstruction - seen.images).square().mean((1, 2, 3))


def siamese_margin(seen: Seen) -> Tensor:
    """Half the squared distance to an image's other views, and half that by which other images come too near.

    Hadsell, Chopra and LeCun 2006, eq. 4, as means over the pairs of either kind; on unit-length embeddings.
    """
    assert seen.output.embedding is not None
    embedding, same = seen.output.embedding, same_image(seen)
    squared = (2 - 2 * embedding @ embedding.T).clamp(min=0)
    # The root's slope at zero is infinite; no pair of other images is kept from being pushed by this little.
    distance = (squared + 1e-8).sqrt()
    near = (squared * same).sum(1) / (seen.views - 1)
    far = ((SIAMESE_MARGIN - distance).clamp(min=0).square() * ~same).sum(1) / (~same).sum(1).clamp(min=1)
    return (near + far) / 2


class Instances:
    """Which image of all is it: a softmax over remembered embeddings (Wu et al. 2018, eq. 2).

    The bank holds the last embedding of every image seen so far in this training.
    """

    def __init__(self) -> None:
        self._bank = torch.empty(0, 0)
        self._known = torch.empty(0, dtype=torch.bool)

    def __call__(self, seen: Seen) -> Tensor:
        assert seen.output.embedding is not None
        embedding, rows = seen.output.embedding, seen.indices
        latest = embedding.detach()[:: seen.views]
        self._make_room(int(rows.max()) + 1, latest)
        new = ~self._known[rows]
        bank = self._bank.index_copy(0, rows[new], latest[new])
        self._known[rows] = True
        similarity = (embedding @ bank.T / INSTANCE_TEMPERATURE).masked_fill(~self._known, -torch.inf)
        self._bank = bank.index_copy(0, rows, latest)
        own = rows.repeat_interleave(seen.views)
        return functional.cross_entropy(similarity, own, reduction="none")

    def _make_room(self, rows: int, like: Tensor) -> None:
        missing = rows - len(self._known)
        if missing > 0:
            room = like.new_zeros(missing, like.shape[1])
            self._bank = torch.cat([self._bank.to(like), room]) if len(self._bank) else room
            self._known = torch.cat([self._known.to(like.device), room.new_zeros(missing, dtype=torch.bool)])


PRETEXT = (
    Term("rotation", stateless(rotation), parts=frozenset({Part.ROTATION}), turned=True),
    Term("reconstruction", stateless(reconstruction), parts=frozenset({Part.DECODER})),
    Term(
        "siamese-margin",
        stateless(siamese_margin),
        parts=frozenset({Part.PROJECTOR}),
        views=2,
        coupling="every other image of the batch is pushed away",
        instead="byol",
    ),
    Term(
        "instance",
        Instances,
        parts=frozenset({Part.PROJECTOR}),
        coupling="its memory bank holds other patients' embeddings",
        instead="public-contrast",
    ),
)
