"""The step on the privacy budget: what institutions say they have spent is at least what they must have."""

from functools import cache

from fedchest.accounting.prv import Charge, micro
from fedchest.accounting.prv import epsilon as prv_epsilon
from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.federation.study import StudyPrivacy
from fedchest.ledger.records import Event, Institution


def epsilon(case: Case) -> str:
    """Each spend is cumulative, within the budget, and at least the accountant's for the rounds trained so far.

    It may be more: the patients' earlier studies count. An update sealed again from the base model of a void
    round costs nothing further. With DP off nothing is spent.
    """
    for number, institution in case.institutions.items():
        own = [event for event in case.events_of("UpdateSubmitted") if event.institution == number]
        _follow(case, institution, own)
    kind = "with DP-SGD's PRV bound as the least" if case.study.privacy is not None else "all zero, DP is off"
    return f"spends of {len(case.institutions)} institutions are cumulative and within budget, {kind}"


def _follow(case: Case, institution: Institution, submissions: list[Event]) -> None:
    bases = {state.number: state.base_model for state in case.rounds}
    trained: set[bytes] = set()
    spent = 0
    for event in submissions:
        assert event.round is not None
        trained.add(bases[event.round])
        claimed = event.values["epsilon"]
        assert isinstance(claimed, int)
        _admit(case, institution, event.round, claimed, spent, len(trained))
        spent = claimed
    if spent != institution.epsilon_spent:
        raise Fault(
            f"the contract holds {institution.epsilon_spent} micro-epsilon, the last submission says {spent}",
            institution=institution.id,
        )


def _admit(case: Case, institution: Institution, round: int, claimed: int, spent: int, rounds: int) -> None:
    if claimed < spent:
        raise Fault("its epsilon decreases", round=round, institution=institution.id)
    if claimed > institution.epsilon_budget:
        raise Fault("its epsilon is above its budget", round=round, institution=institution.id)
    privacy = case.study.privacy
    least = 0 if privacy is None else _least(privacy, case.study.steps, rounds)
    if claimed < least or (privacy is None and claimed != 0):
        raise Fault(
            f"states {claimed} micro-epsilon, but {rounds} rounds of this study cost {least}",
            round=round,
            institution=institution.id,
        )


@cache
def _least(privacy: StudyPrivacy, steps: int, rounds: int) -> int:
    """Micro-epsilon that `rounds` rounds of the study cost at its delta."""
    charge = Charge(privacy.noise_multiplier, privacy.sampling_rate, steps)
    return micro(prv_epsilon([charge] * rounds, privacy.delta))
