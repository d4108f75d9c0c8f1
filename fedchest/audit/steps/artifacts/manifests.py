"""The step on the manifests: each says of an update what was committed with it, and nothing else."""

from dataclasses import asdict, replace
from functools import partial

from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.federation.expectation import expectation
from fedchest.ledger.records import Event, RoundState
from fedchest.protection.manifest import Manifest
from fedchest.refusals import Refused


def manifests(case: Case) -> str:
    """Each accepted update's manifest agrees with its commitment, the study, the round and the registration."""
    checked = sum(case.each(case.proposed_rounds, partial(_of_round, case)))
    return f"{checked} accepted updates' manifests agree with what was committed"


def _of_round(case: Case, state: RoundState) -> int:
    return len(case.each(case.accepted(state.number), partial(_agrees, case, state)))


def _agrees(case: Case, state: RoundState, member: int) -> None:
    submission = case.submissions(state.number)[member]
    content = case.artifact(submission.manifest_hash, "the manifest", round=state.number, institution=member)
    rule = expectation(case.study, case.ledger, state, case.institutions[member], case.layout(state))
    expected = rule.manifest(submission.sealed_hash, submission.epsilon)
    try:
        stated = Manifest.from_bytes(content)
    except Refused as refusal:
        raise Fault(
            "what was committed as its manifest is none",
            expected=asdict(expected),
            found=refusal.reason,
            round=state.number,
            institution=member,
        ) from None
    expected = replace(expected, may_be_opened=stated.may_be_opened)
    for name, value in asdict(expected).items():
        found = getattr(stated, name)
        if found != value:
            raise Fault(
                f"its manifest states another {name.replace('_', ' ')} than was committed",
                expected=value,
                found=found,
                round=state.number,
                institution=member,
            )

    if not stated.may_be_opened:
        _nobody_answers_for(case, state, member)


def _nobody_answers_for(case: Case, state: RoundState, member: int) -> None:
    def complain(answer: Event) -> None:
        raise Fault(
            f"answered for institution {member}, whose manifest does not let its update be opened",
            expected="no answer",
            found="an answer",
            round=state.number,
            institution=int(str(answer.values["voucher"])),
        )

    answers = case.events_of("AnsweredFor", state.number)
    case.each([one for one in answers if one.institution == member], complain)
