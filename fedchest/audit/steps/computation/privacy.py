"""The step on the privacy budget: what institutions say they have spent is at least what they must have."""

from functools import cache, partial

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
    case.each(case.institutions.values(), partial(_follow, case))
    kind = "with DP-SGD's PRV bound as the least" if case.study.privacy is not None else "all zero, DP is off"
    return f"spends of {len(case.institutions)} institutions are cumulative and within budget, {kind}"


def _follow(case: Case, institution: Institution) -> None:
    submissions = [
        event for event in case.events_of("UpdateSubmitted") if event.institution == institution.id
    ]
    bases = {state.number: state.base_model for state in case.rounds}
    trained: set[bytes] = set()
    spent = 0

    def check(event: Event) -> None:
        nonlocal spent
        assert event.round is not None
        trained.add(bases[event.round])
        claimed, before = event.values["epsilon"], spent
        assert isinstance(claimed, int)
        spent = claimed
        _admit(case, institution, event.round, claimed, before, len(trained))

    case.each(submissions, check)
    if spent != institution.epsilon_spent:
        raise Fault(
            f"the contract holds {institution.epsilon_spent} micro-epsilon, the last submission says {spent}",
            expected=spent,
            found=institution.epsilon_spent,
            institution=institution.id,
        )


def _admit(case: Case, institution: Institution, round: int, claimed: int, spent: int, rounds: int) -> None:
    privacy = case.study.privacy
    least = 0 if privacy is None else _least(privacy, case.study.steps, rounds)
    costs = f"states {claimed} micro-epsilon, but {rounds} rounds of this study cost {least}"
    for holds, what, expected in (
        (claimed >= spent, "its epsilon decreases", f"at least {spent}"),
        (
            claimed <= institution.epsilon_budget,
            "its epsilon is above its budget",
            f"at most {institution.epsilon_budget}",
        ),
        (claimed >= least, costs, f"at least {least}"),
        (privacy is not None or claimed == 0, costs, "0"),
    ):
        if not holds:
            raise Fault(
                what,
                expected=f"{expected} micro-epsilon",
                found=claimed,
                round=round,
                institution=institution.id,
            )


@cache
def _least(privacy: StudyPrivacy, steps: int, rounds: int) -> int:
    """Micro-epsilon that `rounds` rounds of the study cost at its delta."""
    charge = Charge(privacy.noise_multiplier, privacy.sampling_rate, steps)
    return micro(prv_epsilon([charge] * rounds, privacy.delta))
