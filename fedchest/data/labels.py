"""The 14 observations of CheXpert, their four label values, and what to do with the uncertain one."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

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
    """What an uncertain label (-1) becomes in training (Irvin et al. 2019, "Uncertainty Approaches")."""

    IGNORE = "u-ignore"  # left out of the loss
    ZEROS = "u-zeros"  # negative
    ONES = "u-ones"  # positive


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


def targets(
    labels: npt.NDArray[np.int8], names: Sequence[str], policies: Mapping[str, UncertaintyPolicy]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Training targets of the observations `names` from the raw labels.

    `labels` is int8[N, 14] of 1, 0, -1 (uncertain), -2 (blank) and -3 (unknown). Returns (targets, mask):
    float32[N, L] of 0 and 1, and bool[N, L] that is False where the loss must leave the label out, as it must an
    unknown one. A blank counts as negative, as in Irvin et al. 2019. Raises ConfigError for an unknown observation
    or one without a policy.
    """
    columns = [column_of(name) for name in names]
    raw = labels[:, columns]
    values = (raw == POSITIVE).astype(np.float32)
    mask = raw != UNKNOWN
    for column, name in enumerate(names):
        if name not in policies:
            raise ConfigError(f"No uncertainty policy is set for the observation {name!r}.")
        uncertain = raw[:, column] == UNCERTAIN
        match policies[name]:
            case UncertaintyPolicy.IGNORE:
                mask[uncertain, column] = False
            case UncertaintyPolicy.ONES:
                values[uncertain, column] = 1.0
            case UncertaintyPolicy.ZEROS:
                pass
    return values, mask


def column_of(name: str) -> int:
    """The column of the observation `name`. Raises ConfigError when CheXpert has none of that name."""
    if name not in OBSERVATIONS:
        raise ConfigError(f"{name!r} is not an observation of CheXpert; known are {', '.join(OBSERVATIONS)}.")
    return OBSERVATIONS.index(name)
