"""Steps on the updates themselves, opened with a recipient's key: what was refused, and what the model is made of."""

from collections.abc import Mapping
from functools import partial
from hashlib import sha256

from fedchest.aggregation.fedavg import weighted_sum
from fedchest.aggregation.fingerprint import SumClaim, fingerprint
from fedchest.aggregation.record import RecordEntry
from fedchest.aggregation.sums import sum_bytes
from fedchest.audit.case import Case
from fedchest.audit.pruned import UPDATE
from fedchest.audit.report import Fault, readable
from fedchest.audit.steps.artifacts.records import ACCEPTED, agreed_record, outcome_name
from fedchest.errors import ConfigError, StoreError
from fedchest.federation.expectation import accepted_update, expectation
from fedchest.federation.messages import UpdateReply
from fedchest.federation.recomputation import Recomputed, recompute, sum_claim
from fedchest.ledger.records import Event, Phase, RoundState
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
    """Each accepted update holds, and sum, fingerprints and proposed model are what they and the base model give."""
    case.each(case.proposed_rounds, partial(_check_round, case))
    return f"{len(case.proposed_rounds)} models recomputed from the sealed updates, equal to the last bit"


def _check_round(case: Case, state: RoundState) -> None:
    updates = accepted_updates(case, state)
    claim = sum_claim(case.ledger, state.number, list(updates), state.sum_hash)
    case.all(
        lambda: _shares_are_the_updates(case, state, updates, claim),
        lambda: _proposal_follows(case, state, _sum_of(case, state, updates), claim),
    )


def _sum_of(case: Case, state: RoundState, updates: Mapping[int, EncodedUpdate]) -> bytes:
    """The bytes of the weighted sum, which must be the proposed ones."""
    weights = [case.institutions[number].weight_class for number in updates]
    try:
        total = weighted_sum(list(updates.values()), weights)
    except ConfigError as error:
        raise Fault(
            "the accepted updates can't be aggregated",
            expected="updates of the base model's layout",
            found=str(error).rstrip("."),
            round=state.number,
        ) from None
    content = sum_bytes(total, case.layout(state), Codec(case.study.norm_bound))
    if sha256(content).digest() != state.sum_hash:
        raise Fault(
            "the accepted updates add up to another sum than this one",
            expected=sha256(content).digest(),
            found=state.sum_hash,
            file=case.name(case.directory.artifacts.path(state.sum_hash)),
            round=state.number,
        )
    return content


def _proposal_follows(case: Case, state: RoundState, total: bytes, claim: SumClaim) -> None:
    """Model and fingerprint are what base model and sum give, and the mean is within the bound."""
    found = _recomputed(case, state, total, claim)
    if found.new_model != state.new_model:
        raise Fault(
            "the accepted updates give another model than this one",
            expected=found.new_model,
            found=readable(state.new_model) + _known_as(case, state),
            file=case.name(case.directory.artifacts.path(state.new_model)),
            round=state.number,
        )
    if found.fingerprint != state.fingerprint:
        raise Fault(
            "the proposed fingerprint is not the sum's",
            expected=found.fingerprint,
            found=state.fingerprint,
            round=state.number,
        )
    if not found.within_bound and state.phase is Phase.FINALIZED:
        raise Fault(
            "the mean of the updates is above the norm bound",
            expected=f"a norm of at most {case.study.norm_bound}",
            found="a larger one",
            round=state.number,
        )


def _recomputed(case: Case, state: RoundState, total: bytes, claim: SumClaim) -> Recomputed:
    base = case.artifact(state.base_model, "the base model", round=state.number)
    try:
        return recompute(base, total, claim, case.layout(state), Codec(case.study.norm_bound))
    except (ConfigError, StoreError, Refused) as error:
        raise Fault(
            "the sum does not fit the base model",
            expected="a sum of the base model's layout",
            found=str(error).rstrip("."),
            round=state.number,
        ) from None


def _known_as(case: Case, state: RoundState) -> str:
    """Which earlier model a proposal repeats, if it does."""
    for earlier in case.rounds[: state.number]:
        if state.new_model == earlier.base_model:
            return f", the model that round {earlier.number} started from"
    return ""


def _shares_are_the_updates(
    case: Case, state: RoundState, updates: Mapping[int, EncodedUpdate], claim: SumClaim
) -> None:
    """Every answer is the fingerprint of the very update that its institution had committed to.

    A false one is a lie of whoever gave it: the institution, or the member that answered for it.
    """
    points = claim.points()

    def check(vote: Event) -> None:
        if vote.institution is None or vote.institution not in updates:
            return
        expected, found = fingerprint(updates[vote.institution].values, points), vote.values["share"]
        if found != expected:
            raise Fault(
                f"answered with a fingerprint that is not {_whose(vote)} committed update's",
                expected=expected,
                found=found,
                round=state.number,
                institution=int(str(vote.values.get("voucher", vote.institution))),
            )

    answers = case.events_of("Attested", state.number) + case.events_of("AnsweredFor", state.number)
    case.each(answers, check)


def _whose(answer: Event) -> str:
    return "its" if answer.name == "Attested" else f"institution {answer.institution}'s"


def accepted_updates(case: Case, state: RoundState) -> dict[int, EncodedUpdate]:
    """The round's accepted updates, opened, by institution. Raises Faults for what should have been refused."""
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
        sealed=_received(case, state, entry, entry.sealed, UPDATE),
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
