"""What each choice of a study reads of private data beside one patient's own record, and who may therefore choose it.

DP-SGD accounts for one thing: sums of clipped gradients, each of one patient's record. A choice that reads
anything else of the patients, be it a count or an un-noised gradient, is outside the account and refused with DP on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fedchest.data.labels import UncertaintyPolicy
from fedchest.errors import ConfigError, UnboundedLossError
from fedchest.models.parameters import Trainable


@dataclass(frozen=True)
class Declared:
    """A choice and what it reads beside one patient's record, public data and released parameters.

    `reads` is a clause that says so, empty when it reads nothing else; `instead` the nearest admissible choice.
    """

    kind: str
    name: str
    reads: str = ""
    instead: str = ""


def admit(declared: Declared, *, private: bool) -> None:
    """Raise UnboundedLossError when `private` and the choice reads more than one patient's record.

    Tested over every choice by `tests/learning/test_private_inputs.py`.
    """
    if private and declared.reads:
        raise UnboundedLossError(
            f"{declared.kind} {declared.name!r} can't be used with DP on: {declared.reads}, so clipping one "
            f"patient's gradient does not bound that patient's influence; use {declared.instead!r}."
        )


def declared(kind: str, name: str) -> Declared:
    """The declaration of the choice `name`. Raises ConfigError for one that nobody declared."""
    try:
        return CHOICES[kind, name]
    except KeyError:
        known = ", ".join(other for of_kind, other in CHOICES if of_kind == kind)
        raise ConfigError(f"{kind} {name!r} is not one of {known}.") from None


POLICY, CLASS_WEIGHTS, FINE_TUNING, CALIBRATION, STOPPING = (
    "uncertainty policy",
    "class weights",
    "fine-tuning strategy",
    "calibration",
    "stopping rule",
)

_READING_NOTHING_ELSE = (
    *(Declared(POLICY, p.value) for p in UncertaintyPolicy if p is not UncertaintyPolicy.SELF_TRAINED),
    Declared(CLASS_WEIGHTS, "none"),
    Declared(CLASS_WEIGHTS, "chexpert"),
    *(Declared(FINE_TUNING, strategy.value) for strategy in Trainable),
    Declared(FINE_TUNING, "gradual"),
    Declared(CALIBRATION, "none"),
    Declared(STOPPING, "rounds"),
)

_READING_MORE = (
    Declared(
        POLICY,
        UncertaintyPolicy.SELF_TRAINED.value,
        "its targets come from a teacher that was trained on all patients without noise",
        UncertaintyPolicy.ONES_SMOOTHED.value,
    ),
    Declared(CLASS_WEIGHTS, "cohort", "they follow from the label counts of all patients", "chexpert"),
    Declared(
        FINE_TUNING,
        "auto-rgn",
        "it sets the layers' rates by gradients of all patients, which are not noised",
        Trainable.NORMS_AND_HEAD.value,
    ),
    Declared(CALIBRATION, "temperature", "it is fitted to the validation patients without noise", "none"),
    Declared(STOPPING, "validation", "it looks at the validation patients without noise", "rounds"),
)

CHOICES: Mapping[tuple[str, str], Declared] = MappingProxyType(
    {(choice.kind, choice.name): choice for choice in (*_READING_NOTHING_ELSE, *_READING_MORE)}
)
"""Every choice that has a name, by kind and name; objectives declare theirs with their terms."""
