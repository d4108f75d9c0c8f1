"""What a positive label counts against a negative one in the loss, by rule."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from fedchest.data.dataset import ChestDataset
from fedchest.data.labels import chexpert_positive_weights

Weights = npt.NDArray[np.float32]


def _none(data: ChestDataset) -> Weights:
    return np.ones(len(data.label_names), np.float32)


def _chexpert(data: ChestDataset) -> Weights:
    """Public constants: nothing of `data` is read but the labels' names."""
    return chexpert_positive_weights(data.label_names)


def _cohort(data: ChestDataset) -> Weights:
    """Negatives over positives of the cohort's own labels, 1 where it has none of either."""
    positives = ((data.targets > 0.5) & data.mask).sum(0)
    negatives = ((data.targets <= 0.5) & data.mask).sum(0)
    ratio = negatives / np.maximum(positives, 1)
    return np.where((positives > 0) & (negatives > 0), ratio, 1.0).astype(np.float32)


CLASS_WEIGHT_RULES: Mapping[str, Callable[[ChestDataset], Weights]] = MappingProxyType(
    {"none": _none, "chexpert": _chexpert, "cohort": _cohort}
)
"""Each gives float32[L]; `fedchest.learning.private_inputs` says which read the cohort."""
