"""The 14 observations of CheXpert, their four label values, and what to do with the uncertain one."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fedchest.errors import ConfigError

OBSERVATIONS: tuple[str, ...] = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""Every observation, in the order of CheXpert's columns."""

COMPETITION: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Pleural Effusion",
)
"""The five observations that the CheXpert competition scores (Irvin et al. 2019)."""

POSITIVE, NEGATIVE, UNCERTAIN, BLANK, UNKNOWN = 1, 0, -1, -2, -3
"""What a label can say; UNKNOWN is an observation that the data set did not label at all."""


class UncertaintyPolicy(StrEnum):
    """What an uncertain label (-1) becomes in training (Irvin et al. 2019, "Uncertainty Approaches").

    The smoothed ones are from Pham et al. 2021, section 3.3, who draw from [0.55, 0.85] and [0, 0.3]. Here the
    target is the interval's mean: cross-entropy is linear in its target, so it is the draw's expected loss.
    """

    IGNORE = "u-ignore"  # left out of the loss
    ZEROS = "u-zeros"  # negative
    ONES = "u-ones"  # positive
    ZEROS_SMOOTHED = "u-zeros-smoothed"  # rather negative
    ONES_SMOOTHED = "u-ones-smoothed"  # rather positive
    MULTICLASS = "u-multiclass"  # an answer of its own
    SELF_TRAINED = "u-self-trained"  # what a teacher says


_STANDS_FOR: Mapping[UncertaintyPolicy, float] = {
    UncertaintyPolicy.ZEROS: 0.0,
    UncertaintyPolicy.ONES: 1.0,
    UncertaintyPolicy.ZEROS_SMOOTHED: 0.15,
    UncertaintyPolicy.ONES_SMOOTHED: 0.70,
}
"""The target of an uncertain label; policies that are missing here leave it without one."""

_KEPT_APART = (UncertaintyPolicy.MULTICLASS, UncertaintyPolicy.SELF_TRAINED)

DEFAULT_POLICIES: Mapping[str, UncertaintyPolicy] = MappingProxyType(
    dict.fromkeys(OBSERVATIONS, UncertaintyPolicy.IGNORE)
    | {
        "Atelectasis": UncertaintyPolicy.ONES,
        "Cardiomegaly": UncertaintyPolicy.ZEROS,
        "Consolidation": UncertaintyPolicy.IGNORE,
        "Edema": UncertaintyPolicy.ONES,
        "Pleural Effusion": UncertaintyPolicy.ONES,
    }
)
"""The best of the three per competition task in Irvin et al. 2019, table 3; U-Ignore elsewhere."""


_CHEXPERT_IMAGES = 223_414
_CHEXPERT_COUNTS: tuple[tuple[int, int], ...] = (
    (22_381, 0),
    (10_798, 12_403),
    (27_000, 8_087),
    (105_581, 5_598),
    (9_186, 1_488),
    (52_246, 12_984),
    (14_783, 27_742),
    (6_039, 18_770),
    (33_376, 33_739),
    (19_448, 3_145),
    (86_187, 11_628),
    (3_523, 2_653),
    (9_040, 642),
    (116_001, 1_079),
)
"""Positive and uncertain images by observation in CheXpert's published train.csv (Irvin et al. 2019)."""

Values = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


class Targets(NamedTuple):
    """What a loss reads of N images' L labels.

    `values` is float32[N,L] in [0,1]; `mask` bool[N,L], False where the loss must leave a label out; `uncertain`
    bool[N,L], True where the label is uncertain and its policy keeps it apart, which `mask` then leaves out.
    """

    values: Values
    mask: Flags
    uncertain: Flags


def targets(
    labels: npt.NDArray[np.int8], names: Sequence[str], policies: Mapping[str, UncertaintyPolicy]
) -> Targets:
    """Training targets of the observations `names` from the raw labels.

    `labels` is int8[N, 14] of 1, 0, -1 (uncertain), -2 (blank) and -3 (unknown). An unknown label is left out; a
    blank counts as negative, as in Irvin et al. 2019. Raises ConfigError for an unknown observation or one
    without a policy.
    """
    raw = labels[:, [column_of(name) for name in names]]
    values = (raw == POSITIVE).astype(np.float32)
    mask = raw != UNKNOWN
    apart = np.zeros_like(mask)
    for column, name in enumerate(names):
        if name not in policies:
            raise ConfigError(f"No uncertainty policy is set for the observation {name!r}.")
        policy, uncertain = policies[name], raw[:, column] == UNCERTAIN
        if policy in _STANDS_FOR:
            values[uncertain, column] = _STANDS_FOR[policy]
        else:
            mask[uncertain, column] = False
            apart[uncertain, column] = policy in _KEPT_APART
    return Targets(values, mask, apart)


def self_trained(targets: Values, mask: Flags, uncertain: Flags, teacher_scores: Values) -> Targets:
    """Targets whose uncertain labels are what a teacher says (Irvin et al. 2019, "U-SelfTrained").

    `uncertain` bool[N,L] are the labels to be answered, `teacher_scores` float32[N,L] probabilities of a model
    that was trained with those labels left out. None is uncertain afterwards. Raises ConfigError for a score
    outside [0, 1].
    """
    asked = teacher_scores[uncertain]
    if not ((asked >= 0) & (asked <= 1)).all():
        raise ConfigError("The teacher's scores are not probabilities: allowed are numbers from 0 to 1.")
    values = np.where(uncertain, teacher_scores, targets).astype(np.float32)
    return Targets(values, mask | uncertain, np.zeros_like(uncertain))


def chexpert_positive_weights(names: Sequence[str]) -> Values:
    """How many negatives CheXpert's published training file has for each positive, float32[L].

    Blanks count as negative and uncertain labels as neither. Raises ConfigError for an unknown observation.
    """
    positive, uncertain = np.array([_CHEXPERT_COUNTS[column_of(name)] for name in names], np.float32).T
    weights: Values = (_CHEXPERT_IMAGES - positive - uncertain) / positive
    return weights


def column_of(name: str) -> int:
    """The column of the observation `name`. Raises ConfigError when CheXpert has none of that name."""
    if name not in OBSERVATIONS:
        raise ConfigError(f"{name!r} is not an observation of CheXpert; known are {', '.join(OBSERVATIONS)}.")
    return OBSERVATIONS.index(name)
