"""Every choice says what it reads of private data, and what reads more than a record is refused with DP on."""

import re
from typing import get_args

import pytest

from fedchest.data.labels import UncertaintyPolicy
from fedchest.errors import ConfigError, UnboundedLossError
from fedchest.federation.config import FineTuning, TrainingSettings
from fedchest.learning.class_weights import CLASS_WEIGHT_RULES
from fedchest.learning.objectives import NOT_OFFERED, TERMS, objective_named
from fedchest.learning.private_inputs import (
    CALIBRATION,
    CHOICES,
    CLASS_WEIGHTS,
    FINE_TUNING,
    POLICY,
    STOPPING,
    Declared,
    admit,
    declared,
)

EVERY = [*CHOICES.values(), *(term.declared for term in TERMS.values()), *NOT_OFFERED.values()]
BY_NAME = {(choice.kind, choice.name): choice for choice in EVERY}


def _offered(setting: str) -> tuple[str, ...]:
    offered: tuple[str, ...] = get_args(TrainingSettings.model_fields[setting].annotation)
    return offered


def test_every_choice_on_offer_is_declared() -> None:
    offered = {
        *((POLICY, policy.value) for policy in UncertaintyPolicy),
        *((CLASS_WEIGHTS, rule) for rule in CLASS_WEIGHT_RULES),
        *((FINE_TUNING, strategy.value) for strategy in FineTuning),
        *((STOPPING, rule) for rule in _offered("stopping")),
        *((CALIBRATION, kind) for kind in _offered("calibration")),
    }
    assert offered <= CHOICES.keys()


@pytest.mark.parametrize("choice", EVERY, ids=lambda choice: f"{choice.kind} {choice.name}")
def test_what_reads_more_than_a_record_is_refused_with_dp_on_and_names_what_is_not(choice: Declared) -> None:
    admit(choice, private=False)
    if not choice.reads:
        admit(choice, private=True)
        return
    with pytest.raises(
        UnboundedLossError, match=f"^{choice.kind} {choice.name!r} .*{re.escape(choice.reads)}"
    ):
        admit(choice, private=True)
    admit(BY_NAME[choice.kind, choice.instead], private=True)


@pytest.mark.parametrize(
    ("kind", "name", "private_too"),
    [
        (CLASS_WEIGHTS, "chexpert", True),
        (CLASS_WEIGHTS, "cohort", False),
        (FINE_TUNING, "auto-rgn", False),
        ("calibration", "temperature", False),
        ("stopping rule", "validation", False),
        (POLICY, "u-self-trained", False),
        (POLICY, "u-multiclass", True),
    ],
)
def test_named_choices_are_judged_as_the_privacy_argument_needs(
    kind: str, name: str, private_too: bool
) -> None:
    assert (declared(kind, name).reads == "") == private_too


def test_an_undeclared_choice_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"calibration 'isotonic' is not one of none, temperature"):
        declared("calibration", "isotonic")
    with pytest.raises(ConfigError, match="class weights 'mine'"):
        objective_named("bce", private=False, class_weights="mine")


def test_class_weights_of_the_cohort_are_refused_with_the_objective() -> None:
    with pytest.raises(UnboundedLossError, match=r"class weights 'cohort'.*use 'chexpert'"):
        objective_named("bce", private=True, class_weights="cohort")
    assert objective_named("bce", private=True, class_weights="chexpert").class_weights == "chexpert"
