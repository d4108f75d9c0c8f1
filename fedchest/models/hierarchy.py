"""CheXpert's tree of labels: what is asked given the parent, and what follows without that condition.

With conditional training a label's logit answers "given that the parent is there, is this there?" (Pham et al. 2021,
section 3): it is trained on the images whose ancestors are all positive, and its probability for any image is the
product of the conditional probabilities along the path from the root.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from types import MappingProxyType

import torch
from torch import Tensor

PARENTS: Mapping[str, str] = MappingProxyType(
    {
        "Cardiomegaly": "Enlarged Cardiomediastinum",
        "Lung Lesion": "Lung Opacity",
        "Edema": "Lung Opacity",
        "Consolidation": "Lung Opacity",
        "Pneumonia": "Consolidation",
        "Atelectasis": "Lung Opacity",
    }
)
"""Each observation's parent (Irvin et al. 2019, figure 1); an observation that is not named has none."""


def paths(label_names: Sequence[str]) -> list[list[int]]:
    """For each label the columns from its first ancestor among `label_names` down to itself.

    An ancestor that the model does not predict is left out, so the next one above it takes its place.
    """
    columns = {name: column for column, name in enumerate(label_names)}
    return [[columns[one] for one in reversed(_line(name)) if one in columns] for name in label_names]


def with_ancestors(targets: Tensor, mask: Tensor, label_names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Targets float32[N,L] and mask bool[N,L] in which whatever is there has its ancestors there, and known to be.

    CheXpert's labeller often leaves a parent blank where it affirms a child.
    """
    present = mask & (targets > 0.5)
    implied = torch.zeros_like(mask)
    for path in paths(label_names):
        for ancestor in path[:-1]:
            implied[:, ancestor] |= present[:, path[-1]] & ~present[:, ancestor]
    return targets.masked_fill(implied, 1.0), mask | implied


def conditional_mask(targets: Tensor, mask: Tensor, label_names: Sequence[str]) -> Tensor:
    """Leave a label out, too, where an ancestor is not known to be positive: bool[N,L].

    `targets` is float32[N,L] in [0,1], positive above one half; `mask` bool[N,L], False where unknown.
    """
    present = mask & (targets > 0.5)
    return torch.stack(
        [mask[:, path[-1]] & present[:, path[:-1]].all(1) for path in paths(label_names)], dim=1
    )


def unconditional(logits: Tensor, label_names: Sequence[str]) -> Tensor:
    """Logits of the products of the probabilities along each label's path, from conditional logits float32[N,L]."""
    return torch.stack(
        [reduce(_both, [logits[:, column] for column in path]) for path in paths(label_names)], dim=1
    )


def _line(name: str) -> list[str]:
    """The label and its ancestors, upwards."""
    return [name] if name not in PARENTS else [name, *_line(PARENTS[name])]


def _both(first: Tensor, second: Tensor) -> Tensor:
    """The logit of the product of two probabilities, from their logits.

    `1 / (p q) - 1 = exp(-a) + exp(-b) + exp(-a - b)`, whose logarithm neither overflows nor cancels, and is never
    below -a or -b.
    """
    return -torch.stack([-first, -second, -first - second]).logsumexp(0)
