"""The step on the rewards: what each institution was given, split again."""

from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.audit.rules import credits_due
from fedchest.ledger.records import Phase, RoundState


def credits(case: Case) -> str:
    """Each finalized round's credits are split among the accepted by the study's rule, and add up per institution."""
    rule = "contribution score" if case.ledger.rules().by_contribution else "weight class"
    totals = dict.fromkeys(case.institutions, 0)
    weights = {number: institution.weight_class for number, institution in case.institutions.items()}

    def check_round(state: RoundState) -> None:
        paid = {
            event.institution: event.values["amount"] for event in case.events_of("Credited", state.number)
        }
        finalized = state.phase is Phase.FINALIZED
        scores = case.ledger.scores(state.number)
        due = credits_due(case.accepted(state.number), weights, scores) if finalized else {}
        for member, amount in due.items():
            totals[member] += amount
        if paid != due:
            raise Fault(
                f"credits are {paid}, by {rule} they are {due}",
                expected=due,
                found=paid,
                round=state.number,
            )

    def check_total(number: int) -> None:
        held = case.institutions[number].credits
        if held != totals[number]:
            raise Fault(
                f"has {held} credits, was given {totals[number]}",
                expected=totals[number],
                found=held,
                institution=number,
            )

    case.all(lambda: case.each(case.rounds, check_round), lambda: case.each(totals, check_total))
    return f"{sum(totals.values())} credits by {rule} to {len(totals)} institutions"
