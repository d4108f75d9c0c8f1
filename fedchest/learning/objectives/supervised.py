"""Terms that learn from labels. A row without any label is worth exactly zero to them."""

import torch
from torch import Tensor
from torch.nn import functional

from fedchest.learning.objectives.terms import Seen, Term, stateless
from fedchest.models.chest import Part

# At full weight the contrast cost the demo 0.03 AUROC, at a quarter nothing (README, "What the demo shows").
PROTOTYPE_WEIGHT = 0.25

SUPCON_TEMPERATURE = 0.2

ASYMMETRIC_FOCUS_POSITIVE, ASYMMETRIC_FOCUS_NEGATIVE, ASYMMETRIC_CLIP = 1.0, 4.0, 0.05
"""Ridnik et al. 2021, section 4.1: the values of their reference."""

AUC_MARGIN = 1.0


def masked_bce(
    logits: Tensor, targets: Tensor, mask: Tensor, positive_weights: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of logits float32[N,L] summed over the unmasked labels, over L: float32[N]."""
    losses = functional.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=positive_weights, reduction="none"
    )
    return (losses * mask).mean(1)


def bce(seen: Seen) -> Tensor:
    """Cross-entropy of yes and no, and of "uncertain" where the model has that answer (Irvin et al. 2019).

    With the third logit u it is the cross-entropy of the softmax over (0, z, u), which for u = -1e4 is the binary one.
    """
    output = seen.output
    if output.uncertainty is None:
        return masked_bce(output.logits, seen.targets, seen.mask, seen.positive_weights)
    yes, third = output.logits, output.uncertainty
    total = torch.stack([torch.zeros_like(yes), yes, third]).logsumexp(0)
    positive = seen.positive_weights * seen.targets * (total - yes)
    known = positive + (1 - seen.targets) * total
    return (known * seen.mask + (total - third) * seen.uncertain).mean(1)


def prototypes(seen: Seen) -> Tensor:
    """Contrast of the embedding with each label's two prototypes.

    The prototypes are parameters, not other patients: the proxies of Proxy-NCA (Movshovitz-Attias et al.
    2017), a pair for each label.
    """
    assert seen.output.prototype_logits is not None
    return masked_bce(seen.output.prototype_logits, seen.targets, seen.mask, seen.positive_weights)


def asymmetric(seen: Seen) -> Tensor:
    """Asymmetric loss (Ridnik et al. 2021, eq. 4 to 7): easy negatives fade, probabilities below 0.05 are dropped.

    The focusing factors are differentiated too, as in their reference.
    """
    logits, targets = seen.output.logits, seen.targets
    probability = logits.sigmoid()
    shifted = (probability - ASYMMETRIC_CLIP).clamp(min=0)
    positive = targets * (1 - probability) ** ASYMMETRIC_FOCUS_POSITIVE * functional.logsigmoid(logits)
    negative = (1 - targets) * shifted**ASYMMETRIC_FOCUS_NEGATIVE * torch.log1p(-shifted)
    return -((positive + negative) * seen.mask).mean(1)


def auc_margin(seen: Seen) -> Tensor:
    """AUC margin loss (Yuan et al. 2021, eq. 6) of the scores h = sigmoid(z), over the labels.

    For each label, with a and b the means of h over positives and negatives: the optimum over their a, b and
    alpha is var+ + var- + max(0, m - a + b)^2. It is taken on the batch, and the labels of which the batch has one
    class only count nothing. A row's value is its share; the mean over the rows is the loss.
    """
    scores = seen.output.logits.sigmoid()
    positive, negative = seen.mask & (seen.targets > 0.5), seen.mask & (seen.targets <= 0.5)
    both = positive.any(0) & negative.any(0)
    shares = [kind * both * len(scores) / kind.sum(0).clamp(min=1) for kind in (positive, negative)]
    above, below = ((share * scores).mean(0) for share in shares)
    gap = (AUC_MARGIN - above + below).clamp(min=0).square()
    spread = shares[0] * (scores - above).square() + shares[1] * (scores - below).square()
    return (spread + gap * (shares[0] + shares[1]) / 2).mean(1)


def supcon(seen: Seen) -> Tensor:
    """Supervised contrast (Khosla et al. 2020, eq. 2), weighted by shared labels, among the rows that have any."""
    assert seen.output.embedding is not None
    positives = seen.targets * seen.mask
    overlap = positives @ positives.T / (positives.sum(1)[:, None] + positives.sum(1)[None] + 1e-6)
    left_out = torch.eye(len(positives), dtype=torch.bool, device=positives.device) | ~seen.mask.any(1)
    overlap = overlap.masked_fill(left_out, 0.0)
    similarity = seen.output.embedding @ seen.output.embedding.T / SUPCON_TEMPERATURE
    log_share = similarity.masked_fill(left_out, -1e9).log_softmax(1)
    contrast = -(overlap * log_share).sum(1) / overlap.sum(1).clamp(min=1e-6)
    return contrast * (overlap.sum(1) > 0)


SUPERVISED = (
    Term("bce", stateless(bce)),
    Term("asymmetric", stateless(asymmetric)),
    Term(
        "prototypes",
        stateless(prototypes),
        weight=PROTOTYPE_WEIGHT,
        parts=frozenset({Part.PROJECTOR, Part.PROTOTYPES}),
    ),
    Term(
        "auc-margin",
        stateless(auc_margin),
        coupling="its margin compares positive with negative patients",
        instead="asymmetric",
    ),
    Term(
        "supcon",
        stateless(supcon),
        parts=frozenset({Part.PROJECTOR}),
        coupling="it compares every pair of images in the batch",
        instead="prototypes",
    ),
)
