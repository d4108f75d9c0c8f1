"""The step on the rounds' records: the coordinator's account of each round is what the chain says."""

from fedchest.aggregation.record import RecordEntry, RoundRecord
from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.ledger.records import RoundState, Submission
from fedchest.refusals import Reason

ACCEPTED = 0


def records(case: Case) -> str:
    """Each record names the chain's models, and every member as accepted or refused just as the chain does."""
    for state in case.proposed_rounds:
        agreed_record(case, state)
    return f"{len(case.proposed_rounds)} records agree with the chain"


def agreed_record(case: Case, state: RoundState) -> RoundRecord:
    """The record of a proposed round. Raises Fault where it is not what the chain says."""
    record = case.record(state)
    _names_the_round(record, state)
    _names_every_member(case, record)
    _agrees_on_outcomes(case, record)
    return record


def _names_the_round(record: RoundRecord, state: RoundState) -> None:
    if record.round != state.number:
        raise Fault(f"the record is of round {record.round}", round=state.number)
    if record.base_model != state.base_model.hex():
        raise Fault("the record names another base model than the chain", round=state.number)
    if record.new_model != state.new_model.hex():
        raise Fault("the record names another new model than the chain", round=state.number)


def _names_every_member(case: Case, record: RoundRecord) -> None:
    members = case.members(record.round)
    named = tuple(entry.institution for entry in record.entries)
    if named != members:
        raise Fault(f"the record names institutions {named}, the members are {members}", round=record.round)


def _agrees_on_outcomes(case: Case, record: RoundRecord) -> None:
    accepted = set(case.accepted(record.round))
    refused = {
        event.institution: event.values["reason"] for event in case.events_of("UpdateRefused", record.round)
    }
    submissions = case.submissions(record.round)
    for entry in record.entries:
        on_chain = ACCEPTED if entry.institution in accepted else refused.get(entry.institution)
        if on_chain is None:
            raise Fault(
                "is neither accepted nor refused on chain", round=record.round, institution=entry.institution
            )
        if entry.reason != on_chain:
            raise Fault(
                f"the record says {outcome_name(entry.reason)}, the chain {outcome_name(on_chain)}",
                round=record.round,
                institution=entry.institution,
            )
        if entry.reason == ACCEPTED:
            _names_what_was_committed(record, entry, submissions[entry.institution])


def _names_what_was_committed(record: RoundRecord, entry: RecordEntry, submission: Submission) -> None:
    committed = (submission.sealed_hash.hex(), submission.manifest_hash.hex(), submission.weight_class)
    if (entry.sealed, entry.manifest, entry.num_examples) != committed:
        raise Fault(
            "the record names another sealed update, manifest or weight than the institution committed to",
            round=record.round,
            institution=entry.institution,
        )


def outcome_name(code: object) -> str:
    """A refusal's name, `accepted` for 0, and the bare number for a code without a name."""
    names = {ACCEPTED: "accepted"} | {int(reason): reason.name for reason in Reason}
    return names.get(code, str(code)) if isinstance(code, int) else str(code)
