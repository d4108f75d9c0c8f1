"""The step on the rounds' records: the coordinator's account of each round is what the chain says."""

from functools import partial
from typing import Any

from fedchest.aggregation.record import RecordEntry, RoundRecord
from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.ledger.artifact_tree import artifact_root, round_artifacts
from fedchest.ledger.records import RoundState, Submission
from fedchest.refusals import Reason

ACCEPTED = 0


def records(case: Case) -> str:
    """Each record names the chain's models, and every member as accepted or refused just as the chain does.

    The root on chain is over exactly the accepted updates' artifacts, the sum, the model and this record.
    """
    case.all(
        lambda: case.each(case.proposed_rounds, partial(agreed_record, case)),
        lambda: case.each(case.proposed_rounds, partial(_is_under_the_root, case)),
    )
    return f"{len(case.proposed_rounds)} records agree with the chain"


def agreed_record(case: Case, state: RoundState) -> RoundRecord:
    """The record of a proposed round. Raises Faults where it is not what the chain says."""
    record = case.record(state)
    _names_the_round(record, state)
    _names_every_member(case, record)
    _agrees_on_outcomes(case, record)
    return record


def _is_under_the_root(case: Case, state: RoundState) -> None:
    submitted = case.submissions(state.number)
    accepted = {id: submitted[id] for id in case.accepted(state.number) if id in submitted}
    artifacts = round_artifacts(accepted, state.sum_hash, state.new_model, state.record)
    expected = artifact_root(artifacts)
    if state.artifacts != expected:
        raise Fault(
            "the artifact root is not that of what the proposal rests on",
            expected=expected,
            found=state.artifacts,
            round=state.number,
        )


def _names_the_round(record: RoundRecord, state: RoundState) -> None:
    if record.round != state.number:
        raise Fault(
            f"the record is of round {record.round}",
            expected=state.number,
            found=record.round,
            round=state.number,
        )
    for what, on_chain, stated in (
        ("base", state.base_model, record.base_model),
        ("new", state.new_model, record.new_model),
    ):
        if stated != on_chain.hex():
            raise Fault(
                f"the record names another {what} model than the chain",
                expected=on_chain,
                found=f"0x{stated}",
                round=state.number,
            )


def _names_every_member(case: Case, record: RoundRecord) -> None:
    members = case.members(record.round)
    named = tuple(entry.institution for entry in record.entries)
    if named != members:
        raise Fault(
            f"the record names institutions {named}, the members are {members}",
            expected=members,
            found=named,
            round=record.round,
        )


def _agrees_on_outcomes(case: Case, record: RoundRecord) -> None:
    on_chain: dict[int | None, Any] = dict.fromkeys(case.accepted(record.round), ACCEPTED)
    for event in case.events_of("UpdateRefused", record.round):
        on_chain.setdefault(event.institution, event.values["reason"])
    submissions = case.submissions(record.round)

    def check(entry: RecordEntry) -> None:
        code = on_chain.get(entry.institution)
        if code is None:
            raise Fault(
                "is neither accepted nor refused on chain",
                expected=outcome_name(entry.reason),
                found="nothing",
                round=record.round,
                institution=entry.institution,
            )
        if entry.reason != code:
            raise Fault(
                f"the record says {outcome_name(entry.reason)}, the chain {outcome_name(code)}",
                expected=outcome_name(code),
                found=outcome_name(entry.reason),
                round=record.round,
                institution=entry.institution,
            )
        if entry.reason == ACCEPTED:
            _names_what_was_committed(record, entry, submissions[entry.institution])

    case.each(record.entries, check)


def _names_what_was_committed(record: RoundRecord, entry: RecordEntry, submission: Submission) -> None:
    committed = (submission.sealed_hash.hex(), submission.manifest_hash.hex(), submission.weight_class)
    named = (entry.sealed, entry.manifest, entry.num_examples)
    for what, expected, found in zip(("sealed update", "manifest", "weight"), committed, named, strict=True):
        if found != expected:
            raise Fault(
                f"the record names another {what} than the institution committed to",
                expected=expected,
                found=found,
                round=record.round,
                institution=entry.institution,
            )


def outcome_name(code: object) -> str:
    """A refusal's name, `accepted` for 0, and the bare number for a code without a name."""
    names = {ACCEPTED: "accepted"} | {int(reason): reason.name for reason in Reason}
    return names.get(code, str(code)) if isinstance(code, int) else str(code)
