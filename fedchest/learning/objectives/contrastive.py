"""Terms that compare embeddings: of an image's views, and for the coupled ones of other patients' images."""

import torch
from torch import Tensor
from torch.nn import functional

from fedchest.learning.objectives.terms import Seen, Term, stateless
from fedchest.learning.views import Pairing
from fedchest.models.chest import Output, Part

TEMPERATURE = 0.2
QUEUE = 1024
SWAV_TEMPERATURE, SINKHORN_SHARPNESS, SINKHORN_ROUNDS = 0.1, 20.0, 3
"""Caron et al. 2020, appendix A: temperature, 1 / epsilon and iterations."""


def byol(seen: Seen) -> Tensor:
    """2 - 2 cos of the prediction and the slow copy's embedding of another view (Grill et al. 2020, eq. 2)."""
    assert seen.output.prediction is not None and seen.target is not None
    prediction = functional.normalize(seen.output.prediction, dim=1)
    return 2 - 2 * _mean_over_others(_between_views(prediction, _embedding(seen.target), seen.views))


def simsiam(seen: Seen) -> Tensor:
    """1 - cos of the prediction and another view's embedding, held fixed (Chen and He 2021, eq. 1, plus 1)."""
    assert seen.output.prediction is not None
    prediction = functional.normalize(seen.output.prediction, dim=1)
    fixed = _embedding(seen.output).detach()
    return 1 - _mean_over_others(_between_views(prediction, fixed, seen.views))


def public_contrast(seen: Seen) -> Tensor:
    """InfoNCE whose negatives are public images, as the slow copy sees them; no other patient is read."""
    assert seen.public is not None
    return _info_nce(seen, _embedding(seen.public))


class Moco:
    """InfoNCE against a queue of what the slow copy made of earlier steps' images (He et al. 2020, eq. 1)."""

    def __init__(self) -> None:
        self._queue: Tensor | None = None

    def __call__(self, seen: Seen) -> Tensor:
        assert seen.target is not None
        keys = _embedding(seen.target)
        queue = keys[:0] if self._queue is None else self._queue
        self._queue = torch.cat([queue, keys])[-QUEUE:]
        return _info_nce(seen, queue)


def nt_xent(seen: Seen) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1): each other view against every other row, a mean over the other views."""
    embedding = _embedding(seen.output)
    itself = torch.eye(len(embedding), dtype=torch.bool, device=embedding.device)
    similarity = (embedding @ embedding.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    others = same_image(seen) & ~itself
    return -similarity.log_softmax(1).masked_fill(~others, 0.0).sum(1) / (seen.views - 1)


def swav(seen: Seen) -> Tensor:
    """Each view predicts the other views' cluster codes, balanced over the batch (Caron et al. 2020, eq. 2)."""
    assert seen.output.clusters is not None
    cosines = _by_image(seen.output.clusters, seen.views)
    codes = torch.stack([sinkhorn(cosines[:, view].detach()) for view in range(seen.views)], dim=1)
    log_shares = (cosines / SWAV_TEMPERATURE).log_softmax(2)
    return _mean_over_others(-torch.einsum("nak,nbk->nab", log_shares, codes))


def sinkhorn(cosines: Tensor) -> Tensor:
    """Soft codes float32[N,K] of cosines float32[N,K]: rows add up to 1, columns to about N / K (eq. 3 to 5)."""
    # Subtracting the largest changes nothing but the range of exp.
    codes = ((cosines - cosines.max()) * SINKHORN_SHARPNESS).exp()
    for _ in range(SINKHORN_ROUNDS):
        codes = codes / codes.sum(0).clamp(min=torch.finfo(codes.dtype).tiny)
        codes = codes / codes.sum(1, keepdim=True)
    return codes


def same_image(seen: Seen) -> Tensor:
    """bool[N*V,N*V], True where two rows are views of one image."""
    images = torch.arange(len(seen.indices), device=seen.turns.device).repeat_interleave(seen.views)
    return images[:, None] == images


def _info_nce(seen: Seen, negatives: Tensor) -> Tensor:
    """-log of a positive's share among itself and `negatives` float32[M,D] (van den Oord et al. 2018, eq. 4).

    The positives are the slow copy's embeddings of the image's other views; the rows' values are means over them.
    """
    assert seen.target is not None
    query = _embedding(seen.output)
    positive = _between_views(query, _embedding(seen.target), seen.views) / TEMPERATURE
    negative = (query @ negatives.T / TEMPERATURE).logsumexp(1).view(-1, seen.views)
    return _mean_over_others(functional.softplus(negative[:, :, None] - positive))


def _between_views(rows: Tensor, others: Tensor, views: int) -> Tensor:
    """Scalar products float32[N,V,V] of each view's `rows` with each view's `others`, both float32[N*V,D]."""
    by_image, others_by_image = (_by_image(values, views) for values in (rows, others))
    return torch.einsum("nad,nbd->nab", by_image, others_by_image)


def _by_image(rows: Tensor, views: int) -> Tensor:
    return rows.view(-1, views, rows.shape[1])


def _mean_over_others(pairs: Tensor) -> Tensor:
    """Means float32[N*V] over an image's other views of `pairs` float32[N,V,V]."""
    views = pairs.shape[1]
    own = torch.eye(views, dtype=torch.bool, device=pairs.device)
    return pairs.masked_fill(own, 0.0).sum(2).flatten() / (views - 1)


def _embedding(output: Output) -> Tensor:
    assert output.embedding is not None
    return output.embedding


_PROJECTED = frozenset({Part.PROJECTOR})
_PREDICTED = frozenset({Part.PROJECTOR, Part.PREDICTOR})
_CONTRAST = "every other image of the batch is a negative"

CONTRASTIVE = (
    Term("byol", stateless(byol), parts=_PREDICTED, views=2, target=True),
    Term("simsiam", stateless(simsiam), parts=_PREDICTED, views=2),
    Term("public-contrast", stateless(public_contrast), parts=_PROJECTED, views=2, target=True, public=True),
    Term("nt-xent", stateless(nt_xent), parts=_PROJECTED, views=2, coupling=_CONTRAST, instead="byol"),
    Term(
        "micle",
        stateless(nt_xent),
        parts=_PROJECTED,
        views=2,
        pairing=Pairing.PATIENT,
        coupling=_CONTRAST,
        instead="byol",
    ),
    Term(
        "moco",
        Moco,
        parts=_PROJECTED,
        views=2,
        target=True,
        coupling="its queue holds other patients' embeddings",
        instead="public-contrast",
    ),
    Term(
        "swav",
        stateless(swav),
        parts=frozenset({Part.PROJECTOR, Part.CLUSTERS}),
        views=2,
        coupling="its assignments balance the whole batch",
        instead="byol",
    ),
)
