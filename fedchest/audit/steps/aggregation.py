"""Steps on the updates themselves, opened with a recipient's key: what was refused, and what the model is made of."""

from fedchest.aggregation.fedavg import next_model
from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.aggregation.record import RecordEntry
from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.audit.steps.records import ACCEPTED, agreed_record, outcome_name
from fedchest.errors import ConfigError
from fedchest.federation.expectation import accepted_update, expectation
from fedchest.federation.messages import UpdateReply
from fedchest.ledger.records import RoundState, Submission
from fedchest.protection.codec import Codec, EncodedUpdate
from fedchest.refusals import Refused


def refusals(case: Case) -> str:
    """Each refused update whose bytes were received is refused again, for the same reason."""
    again = unseen = 0
    for state in case.proposed_rounds:
        submissions = case.submissions(state.number)
        for entry in agreed_record(case, state).entries:
            if entry.reason == ACCEPTED:
                continue
            if entry.sealed is None or entry.manifest is None:
                unseen += 1
                continue
            _refused_again(case, state, entry, submissions.get(entry.institution))
            again += 1
    rest = f"; {unseen} without bytes to check are the coordinator's word" if unseen else ""
    return f"{again} refused updates are refused again for the same reason{rest}"


def aggregation(case: Case) -> str:
    """Each accepted update holds, and the proposed model is their exact weighted mean applied to the base."""
    for state in case.proposed_rounds:
        if _recomputed(case, state) != case.artifact(
            state.new_model, "the proposed model", round=state.number
        ):
            file = case.name(case.directory.artifacts.path(state.new_model))
            raise Fault(
                "the accepted updates give another model than this one", file=file, round=state.number
            )
    return f"{len(case.proposed_rounds)} models recomputed from the sealed updates, equal to the last bit"


def _recomputed(case: Case, state: RoundState) -> bytes:
    updates = _accepted_updates(case, state)
    base = parse_model(case.artifact(state.base_model, "the base model", round=state.number))
    weights = {number: institution.weight_class for number, institution in case.institutions.items()}
    try:
        return model_bytes(next_model(base, updates, weights, Codec(case.study.norm_bound)))
    except ConfigError as error:
        raise Fault(str(error), round=state.number) from None


def _accepted_updates(case: Case, state: RoundState) -> dict[int, EncodedUpdate]:
    submissions = case.submissions(state.number)
    updates: dict[int, EncodedUpdate] = {}
    for entry in agreed_record(case, state).entries:
        if entry.reason != ACCEPTED:
            continue
        try:
            updates[entry.institution] = _check(case, state, entry, submissions.get(entry.institution))
        except Refused as refusal:
            raise Fault(
                f"was accepted, but is to be refused: {refusal.reason.name}",
                round=state.number,
                institution=entry.institution,
            ) from None
    return updates


def _refused_again(case: Case, state: RoundState, entry: RecordEntry, submission: Submission | None) -> None:
    try:
        _check(case, state, entry, submission)
    except Refused as refusal:
        found = int(refusal.reason)
    else:
        found = ACCEPTED
    if found != entry.reason:
        raise Fault(
            f"was refused for {outcome_name(entry.reason)}, the audit finds {outcome_name(found)}",
            round=state.number,
            institution=entry.institution,
        )


def _check(case: Case, state: RoundState, entry: RecordEntry, submission: Submission | None) -> EncodedUpdate:
    """The server's rule on the bytes that it received. Raises Refused."""
    member = case.institutions[entry.institution]
    reply = UpdateReply(
        sealed=_received(case, state, entry, entry.sealed, "the sealed update"),
        manifest=_received(case, state, entry, entry.manifest, "the manifest"),
        num_examples=entry.num_examples if entry.num_examples is not None else 0,
    )
    expected = expectation(case.study, case.ledger, state, member, case.layout(state))
    return accepted_update(reply, submission, member, expected, case.key)


def _received(case: Case, state: RoundState, entry: RecordEntry, digest: str | None, what: str) -> bytes:
    if digest is None:
        raise Fault(f"{what} is not in the record", round=state.number, institution=entry.institution)
    return case.artifact(bytes.fromhex(digest), what, round=state.number, institution=entry.institution)
