"""Steps on the updates themselves, opened with a recipient's key: what was refused, and what the model is made of."""

import hashlib
from collections.abc import Mapping

from fedchest.aggregation.fedavg import weighted_sum
from fedchest.aggregation.fingerprint import SumClaim, fingerprint
from fedchest.aggregation.record import RecordEntry
from fedchest.aggregation.sums import sum_bytes
from fedchest.audit.case import Case
from fedchest.audit.report import Fault
from fedchest.audit.steps.records import ACCEPTED, agreed_record, outcome_name
from fedchest.errors import ConfigError, StoreError
from fedchest.federation.expectation import accepted_update, expectation
from fedchest.federation.messages import UpdateReply
from fedchest.federation.recomputation import Recomputed, recompute, sum_claim
from fedchest.ledger.records import Phase, RoundState, Submission
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
    """Each accepted update holds, sum, fingerprints and proposed model are what they and the base model give."""
    for state in case.proposed_rounds:
        updates = _accepted_updates(case, state)
        claim = sum_claim(case.ledger, state.number, list(updates), state.sum_hash)
        total = _sum_of(case, state, updates)
        _shares_are_the_updates(case, state, updates, claim)
        found = _recomputed(case, state, total, claim)
        if found.new_model != state.new_model:
            raise _another(
                case, state, state.new_model, "the accepted updates give another model than this one"
            )
        if found.fingerprint != state.fingerprint:
            raise Fault("the proposed fingerprint is not the sum's", round=state.number)
        if not found.within_bound and state.phase is Phase.FINALIZED:
            raise Fault("the mean of the updates is above the norm bound", round=state.number)
    return f"{len(case.proposed_rounds)} models recomputed from the sealed updates, equal to the last bit"


def _sum_of(case: Case, state: RoundState, updates: Mapping[int, EncodedUpdate]) -> bytes:
    """The bytes of the weighted sum, which must be the proposed ones."""
    weights = [case.institutions[number].weight_class for number in updates]
    try:
        total = weighted_sum(list(updates.values()), weights)
    except ConfigError as error:
        raise Fault(str(error), round=state.number) from None
    content = sum_bytes(total, case.layout(state), Codec(case.study.norm_bound))
    if hashlib.sha256(content).digest() != state.sum_hash:
        raise _another(
            case, state, state.sum_hash, "the accepted updates add up to another sum than this one"
        )
    return content


def _shares_are_the_updates(
    case: Case, state: RoundState, updates: Mapping[int, EncodedUpdate], claim: SumClaim
) -> None:
    """Each institution answered with the fingerprint of the very update that it had committed to."""
    points = claim.points()
    for vote in case.events_of("Attested", state.number):
        if vote.institution is None or vote.institution not in updates:
            continue
        if vote.values["share"] != fingerprint(updates[vote.institution].values, points):
            raise Fault(
                "answered with a fingerprint that is not its committed update's",
                round=state.number,
                institution=vote.institution,
            )


def _another(case: Case, state: RoundState, digest: bytes, what: str) -> Fault:
    return Fault(what, file=case.name(case.directory.artifacts.path(digest)), round=state.number)


def _recomputed(case: Case, state: RoundState, total: bytes, claim: SumClaim) -> Recomputed:
    base = case.artifact(state.base_model, "the base model", round=state.number)
    try:
        return recompute(base, total, claim, case.layout(state), Codec(case.study.norm_bound))
    except (ConfigError, StoreError, Refused):
        raise Fault("the sum does not fit the base model", round=state.number) from None


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
