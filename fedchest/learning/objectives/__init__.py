"""Losses by name, and which of them one patient's record can change by a bounded amount only.

DP-SGD clips each patient's gradient. That bounds a patient's influence only if the loss is a sum of terms
that each read one patient's record, public data and released parameters; a loss that compares the patients of
a batch changes other patients' terms too (for NT-Xent at batch 64, by up to twelve times the clipping norm).
"""

from collections.abc import Mapping
from types import MappingProxyType

from fedchest.errors import ConfigError
from fedchest.learning.objectives.contrastive import CONTRASTIVE
from fedchest.learning.objectives.loss import Loss, Objective
from fedchest.learning.objectives.pretext import PRETEXT
from fedchest.learning.objectives.supervised import SUPERVISED, masked_bce
from fedchest.learning.objectives.terms import OBJECTIVE, Seen, Term
from fedchest.learning.private_inputs import Declared, admit

__all__ = ["NOT_OFFERED", "TERMS", "Loss", "Objective", "Seen", "Term", "masked_bce", "objective_named"]

TERMS: Mapping[str, Term] = MappingProxyType(
    {term.name: term for term in (*SUPERVISED, *CONTRASTIVE, *PRETEXT)}
)
"""Every term on offer, by name."""

NOT_OFFERED: Mapping[str, Declared] = MappingProxyType(
    {
        name: Declared(OBJECTIVE, name, reads, "byol")
        for name, reads in {
            "vicreg": "its variance and covariance terms are statistics of the batch",
            "barlow-twins": "its cross-correlation is a statistic of the batch",
            "dino": "its centring is a running mean over patients",
            "mixup": "it blends the images of two patients",
        }.items()
    }
)
"""What users ask for by name and that is not here, each with what couples patients."""


def objective_named(name: str, *, private: bool, class_weights: str = "none") -> Objective:
    """The sum of the terms in `name`, joined by "+", such as "bce+prototypes+byol".

    Raises UnboundedLossError, with the reason and the nearest admissible objective, for a loss that couples
    patients while `private`; ConfigError for a term that is not offered or named twice, and for unknown class
    weights. The bound itself is tested in `tests/learning/test_dp.py` by
    `test_removing_a_patient_changes_the_clipped_sum_by_at_most_the_norm`.
    """
    names = name.lower().split("+")
    for part in names:
        if part in NOT_OFFERED:
            admit(NOT_OFFERED[part], private=private)
        if part not in TERMS:
            raise ConfigError(f"objective {name!r} has the term {part!r}: known are {', '.join(TERMS)}.")
    if len(set(names)) < len(names):
        raise ConfigError(f"objective {name!r} has a term twice: allowed is each once.")
    objective = Objective(tuple(TERMS[part] for part in names), class_weights)
    objective.admit(private=private)
    return objective
