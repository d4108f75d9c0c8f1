"""Steps on the updates themselves, opened with a recipient's key: what was refused, and what the model is made of."""

from functools import partial
from hashlib import sha256

from fedchest.aggregation.fedavg import next_model
from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.aggregation.record import RecordEntry
from fedchest.audit.case import Case
from fedchest.audit.report import Fault, readable
from fedchest.audit.steps.artifacts.records import ACCEPTED, agreed_record, outcome_name
from fedchest.errors import ConfigError
from fedchest.federation.expectation import accepted_update, expectation
from fedchest.federation.messages import UpdateReply
from fedchest.ledger.records import RoundState
from fedchest.protection.codec import Codec, EncodedUpdate
from fedchest.refusals import Refused


def refusals(case: Case) -> str:
    """Each refused update whose bytes were received is refused again, for the same reason."""
    unseen = 0

    def check_round(state: RoundState) -> int:
        nonlocal unseen
        refused = [entry for entry in agreed_record(case, state).entries if entry.reason != ACCEPTED]
        seen = [entry for entry in refused if entry.sealed is not None and entry.manifest is not None]
        unseen += len(refused) - len(seen)
        return len(case.each(seen, partial(_refused_again, case, state)))

    again = sum(case.each(case.proposed_rounds, check_round))
    rest = f"; {unseen} without bytes to check are the coordinator's word" if unseen else ""
    return f"{again} refused updates are refused again for the same reason{rest}"


def aggregation(case: Case) -> str:
    """Each accepted update holds, and the proposed model is their exact weighted mean applied to the base."""
    case.each(case.proposed_rounds, partial(_check_model, case))
    return f"{len(case.proposed_rounds)} models recomputed from the sealed updates, equal to the last bit"


def _check_model(case: Case, state: RoundState) -> None:
    recomputed = _recomputed(case, state)
    if recomputed == case.artifact(state.new_model, "the proposed model", round=state.number):
        return
    raise Fault(
        "the accepted updates give another model than this one",
        expected=sha256(recomputed).digest(),
        found=readable(state.new_model) + _known_as(case, state),
        file=case.name(case.directory.artifacts.path(state.new_model)),
        round=state.number,
    )


def _known_as(case: Case, state: RoundState) -> str:
    """Which earlier model a proposal repeats, if it does."""
    for earlier in case.rounds[: state.number]:
        if state.new_model == earlier.base_model:
            return f", the model that round {earlier.number} started from"
    return ""


def _recomputed(case: Case, state: RoundState) -> bytes:
    updates = _accepted_updates(case, state)
    base = parse_model(case.artifact(state.base_model, "the base model", round=state.number))
    weights = {number: institution.weight_class for number, institution in case.institutions.items()}
    try:
        return model_bytes(next_model(base, updates, weights, Codec(case.study.norm_bound)))
    except ConfigError as error:
        raise Fault(
            "the accepted updates can't be aggregated",
            expected="updates of the base model's layout",
            found=str(error).rstrip("."),
            round=state.number,
        ) from None


def _accepted_updates(case: Case, state: RoundState) -> dict[int, EncodedUpdate]:
    accepted = [entry for entry in agreed_record(case, state).entries if entry.reason == ACCEPTED]

    def opened(entry: RecordEntry) -> EncodedUpdate:
        try:
            return _check(case, state, entry)
        except Refused as refusal:
            raise Fault(
                f"was accepted, but is to be refused: {refusal.reason.name}",
                expected=refusal.reason,
                found=outcome_name(ACCEPTED),
                round=state.number,
                institution=entry.institution,
            ) from None

    updates = case.each(accepted, opened)
    return {entry.institution: update for entry, update in zip(accepted, updates, strict=True)}


def _refused_again(case: Case, state: RoundState, entry: RecordEntry) -> None:
    try:
        _check(case, state, entry)
    except Refused as refusal:
        found = int(refusal.reason)
    else:
        found = ACCEPTED
    if found != entry.reason:
        raise Fault(
            f"was refused for {outcome_name(entry.reason)}, the audit finds {outcome_name(found)}",
            expected=outcome_name(found),
            found=outcome_name(entry.reason),
            round=state.number,
            institution=entry.institution,
        )


def _check(case: Case, state: RoundState, entry: RecordEntry) -> EncodedUpdate:
    """The server's rule on the bytes that it received. Raises Refused."""
    member = case.institutions[entry.institution]
    reply = UpdateReply(
        sealed=_received(case, state, entry, entry.sealed, "the sealed update"),
        manifest=_received(case, state, entry, entry.manifest, "the manifest"),
        num_examples=entry.num_examples if entry.num_examples is not None else 0,
    )
    expected = expectation(case.study, case.ledger, state, member, case.layout(state))
    submission = case.submissions(state.number).get(entry.institution)
    return accepted_update(reply, submission, member, expected, case.key)


def _received(case: Case, state: RoundState, entry: RecordEntry, digest: str | None, what: str) -> bytes:
    if digest is None:
        raise Fault(
            f"{what} is not in the record",
            expected="its hash",
            found="nothing",
            round=state.number,
            institution=entry.institution,
        )
    return case.artifact(bytes.fromhex(digest), what, round=state.number, institution=entry.institution)
