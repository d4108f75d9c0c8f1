"""The tree of CheXpert's labels."""

from collections.abc import Mapping, Sequence

from torch import Tensor

PARENTS: Mapping[str, str] = {"Cardiomegaly": "Enlarged Cardiomediastinum", "Edema": "Lung Opacity"}


def conditional_mask(targets: Tensor, mask: Tensor, label_names: Sequence[str]) -> Tensor:
    """`mask` bool[N,L] without the labels whose parent is not known to be positive."""
    kept = mask.clone()
    for column, name in enumerate(label_names):
        parent = PARENTS.get(name)
        if parent is not None and parent in label_names:
            above = list(label_names).index(parent)
            kept[:, column] &= mask[:, above] & (targets[:, above] > 0.5)
    return kept
