"""What the shipped contract never lets happen, told by an altered chain: the audit counts again all the same."""

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from fedchest.aggregation.fingerprint import MODULUS, combined
from fedchest.aggregation.record import RoundRecord
from fedchest.audit.case import Case
from fedchest.audit.report import Fault, NotChecked
from fedchest.audit.source import chain_source
from fedchest.audit.steps.artifacts.files import artifacts
from fedchest.audit.steps.artifacts.lineage import lineage
from fedchest.audit.steps.artifacts.records import records
from fedchest.audit.steps.chain.votes import attestations
from fedchest.audit.steps.computation.credits import credits
from fedchest.audit.steps.computation.privacy import epsilon
from fedchest.audit.steps.computation.updates import aggregation, refusals
from fedchest.federation.directory import RunDirectory
from fedchest.ledger.records import Event, Phase, RoundState

pytestmark = pytest.mark.e2e

FIELDS = {field.name for field in fields(Case)}


@pytest.fixture(scope="module")
def case(finished_run: RunDirectory, node: str) -> Iterator[Case]:
    with chain_source(finished_run, node) as source:
        yield Case(finished_run, source, finished_run.auditor / "sealing.key")


def altered(case: Case, **facts: Any) -> Case:
    """The same case, in which the chain says something else."""
    other = Case(case.directory, case.source, case.key_file)
    known = {name: getattr(case, name) for name in ("ledger", "study", "events", "rounds", "institutions")}
    vars(other).update(known | facts)
    return other


def with_event(case: Case, name: str, change: Callable[[Event], Event | None], which: int = 0) -> Case:
    """One event of a kind changed, or dropped."""
    chosen = case.events_of(name)[which]
    changed = [change(event) if event is chosen else event for event in case.events]
    return altered(case, events=[event for event in changed if event is not None])


def valued(**values: Any) -> Callable[[Event], Event]:
    return lambda event: replace(event, values={**event.values, **values})


def with_votes(case: Case, votes: list[Event], **values: Any) -> Case:
    """Those attestations changed."""
    return altered(case, events=[valued(**values)(e) if e in votes else e for e in case.events])


def with_round(case: Case, number: int, **fields: Any) -> Case:
    return altered(case, rounds=[replace(s, **fields) if s.number == number else s for s in case.rounds])


def with_institution(case: Case, number: int, **fields: Any) -> Case:
    changed = replace(case.institutions[number], **fields)
    return altered(case, institutions={**case.institutions, number: changed})


def test_the_unaltered_chain_has_no_fault(case):
    for step in (lineage, records, attestations, credits, epsilon):
        step(altered(case))


# Lineage.


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"base_model": bytes(32)}, "does not start from the last finalized model"),
        ({"config": bytes(32)}, "another configuration"),
    ],
)
def test_a_round_out_of_line(case, fields, what):
    with pytest.raises(Fault, match=f"round 2: .*{what}"):
        lineage(with_round(case, 2, **fields))


def test_a_global_model_that_no_round_finalized(case):
    with pytest.raises(Fault, match="differ on whether it was finalized"):
        lineage(with_round(case, 2, phase=Phase.VOID))
    with pytest.raises(Fault, match="not the last finalized"):
        lineage(with_round(case, 2, new_model=b"x" * 32))


# Votes.


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda vote: replace(vote, institution=77), "without being a member"),
        (lambda vote: replace(vote, sender="0x" + "22" * 20), "another wallet"),
        (valued(checks=7), "does not follow from its checks"),
        (valued(recomputed_model=bytes(32)), "does not follow from its checks"),
        (valued(checks=7, agrees=False), "count is not that of the attestations"),
        (lambda vote: None, "count is not that of the attestations"),
    ],
)
def test_a_vote_that_is_not_what_it_seems(case, change, what):
    with pytest.raises(Fault, match=what):
        attestations(with_event(case, "Attested", change))


def test_a_vote_that_is_cast_twice(case):
    twice = [*case.events, case.events_of("Attested", 2)[0]]
    with pytest.raises(Fault, match="round 2, institution 0: attests without being a member, or twice"):
        attestations(altered(case, events=twice))


def test_a_smaller_quorum(case):
    with pytest.raises(Fault, match="the quorum is 2 of 4"):
        attestations(with_round(case, 1, quorum=2))


def test_finalized_without_the_quorum(case):
    """Two votes against on both sides of the account: the events and the contract's own count."""
    case = with_votes(case, case.events_of("Attested", 2)[:2], agrees=False, checks=0)
    state = case.rounds[1]
    changed = replace(state, agreeing=state.agreeing - 2, disagreeing=2)
    with pytest.raises(Fault, match="FINALIZED with 2 of 3"):
        attestations(altered(case, rounds=[case.rounds[0], changed]))


def test_finalized_without_every_answer(case):
    votes = case.events_of("Attested", 2)[-1:]
    events = [event for event in case.events if event not in votes]
    state = case.rounds[1]
    weight = case.institutions[votes[0].institution].weight_class
    without = combined(state.gathered, votes[0].values["share"], MODULUS - weight)
    changed = replace(state, agreeing=state.agreeing - 1, unanswered=1, gathered=without)
    with pytest.raises(Fault, match="1 unanswered: it should be PROPOSED"):
        attestations(altered(case, events=events, rounds=[case.rounds[0], changed]))


def test_another_sum_of_fingerprints(case):
    with pytest.raises(Fault, match="sum of fingerprints is not that of the answers"):
        attestations(with_round(case, 2, gathered=bytes(24)))


def test_finalized_although_the_shares_do_not_add_up(case):
    case = with_votes(case, case.events_of("Attested", 2), fingerprint=bytes(24))
    state = case.rounds[1]
    changed = replace(state, fingerprint=bytes(24))
    with pytest.raises(Fault, match="it should be DISPUTED"):
        attestations(altered(case, rounds=[case.rounds[0], changed]))


def test_void_in_spite_of_the_quorum(case):
    with pytest.raises(
        Fault, match="VOID with 4 of 3 votes, 0 against and 0 unanswered: it should be FINALIZED"
    ):
        attestations(with_round(case, 2, phase=Phase.VOID))


# Credits.


def test_other_credits(case):
    with pytest.raises(Fault, match="round 1: credits are"):
        credits(with_event(case, "Credited", valued(amount=1)))


def test_credits_that_do_not_add_up(case):
    with pytest.raises(Fault, match="institution 2: has 5 credits"):
        credits(with_institution(case, 2, credits=5))


# Epsilon.


@pytest.mark.parametrize(
    ("which", "spent", "what"),
    [(4, 0, "decreases"), (4, 10**12, "above its budget"), (0, 1, "1 rounds of this study cost")],
)
def test_a_spend_that_can_not_be(case, which, spent, what):
    with pytest.raises(Fault, match=what):
        epsilon(with_event(case, "UpdateSubmitted", valued(epsilon=spent), which))


def test_a_balance_that_is_not_the_last_spend(case):
    with pytest.raises(Fault, match="institution 0: the contract holds 1 "):
        epsilon(with_institution(case, 0, epsilon_spent=1))


def test_a_spend_with_dp_off(case):
    with pytest.raises(Fault, match="of this study cost 0"):
        epsilon(altered(case, study=case.study.model_copy(update={"privacy": None})))


def test_an_update_sealed_again_after_a_void_round_costs_nothing_more(case):
    """Both rounds from one base: one round's charge covers both submissions."""
    first = {event.institution: event.values["epsilon"] for event in case.events_of("UpdateSubmitted", 1)}
    events = [
        valued(epsilon=first[event.institution])(event) if event.name == "UpdateSubmitted" else event
        for event in case.events
    ]
    institutions = {
        number: replace(institution, epsilon_spent=first[number])
        for number, institution in case.institutions.items()
    }
    twice_from_one = with_round(case, 2, base_model=case.rounds[0].base_model).rounds
    epsilon(altered(case, events=events, institutions=institutions, rounds=twice_from_one))
    with pytest.raises(Fault, match="2 rounds of this study cost"):
        epsilon(altered(case, events=events, institutions=institutions))


# Records: a coordinator may write what it likes, as long as it hashes to what it put on chain.


def with_record(case: Case, run: RunDirectory, content: bytes) -> Case:
    """Round 1 with another record, on chain and in the store of `run`, a copy."""
    lying = Case(run, case.source, case.key_file)
    changed = with_round(case, 1, record=run.artifacts.put(content))
    vars(lying).update({name: value for name, value in vars(changed).items() if name not in FIELDS})
    return lying


def record_of(state: RoundState, case: Case) -> dict[str, Any]:
    return json.loads(case.directory.artifacts.get(state.record))


def canonical(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def entry(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["entries"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda record: record.update(round=2), "the record is of round 2"),
        (lambda record: record.update(base_model="00" * 32), "another base model"),
        (lambda record: record.update(new_model="00" * 32), "another new model"),
        (lambda record: record["entries"].pop(), "the record names institutions"),
        (entry(institution=99), "the record names institutions"),
        (entry(reason=4), "the record says HASH_MISMATCH, the chain accepted"),
        (entry(sealed="00" * 32), "than the institution committed to"),
        (entry(num_examples=1000), "than the institution committed to"),
        (entry(sealed="not a hash"), "is not a record of a round"),
        (entry(reason="0"), "is not a record of a round"),
        (lambda record: record.update(extra=1), "is not a record of a round"),
        (lambda record: record.pop("entries"), "is not a record of a round"),
    ],
)
def test_a_record_that_contradicts_the_chain(case, run, change, what):
    record = record_of(case.rounds[0], case)
    change(record)
    lying = with_record(case, run, canonical(record))
    for step in (records, refusals, aggregation):
        with pytest.raises(Fault, match=what):
            step(lying)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff", b"[" * 10_000])
def test_a_record_that_is_none(case, run, content):
    lying = with_record(case, run, content)
    for step in (records, artifacts):
        with pytest.raises(Fault, match="is not a record of a round"):
            step(lying)


def test_a_record_written_in_another_way(case, run):
    content = json.dumps(record_of(case.rounds[0], case), indent=1).encode()
    assert RoundRecord.from_bytes(content).to_bytes() != content
    with pytest.raises(Fault, match="is not a record"):
        records(with_record(case, run, content))


def test_a_member_that_is_passed_over_in_silence(case):
    with pytest.raises(Fault, match="institution 3: is neither accepted nor refused on chain"):
        records(with_event(case, "UpdateRefused", lambda event: None))


def test_a_refusal_for_another_reason(case, run):
    """The record and the chain agree; the bytes tell another story."""
    record = record_of(case.rounds[0], case)
    record["entries"][3]["reason"] = 10
    told = with_event(case, "UpdateRefused", valued(reason=10))
    lying = with_record(told, run, canonical(record))
    with pytest.raises(Fault, match="refused for NORM_EXCEEDED, the audit finds HASH_MISMATCH"):
        refusals(lying)


def test_a_proposed_model_that_is_another(case, run):
    """A model in the store, named by chain and record alike, that the updates do not give."""
    base = case.rounds[0].base_model
    record = record_of(case.rounds[0], case) | {"new_model": base.hex()}
    lying = with_record(with_round(case, 1, new_model=base), run, canonical(record))
    with pytest.raises(Fault, match="give another model"):
        aggregation(lying)


def test_without_a_chain_nothing_is_checked(case):
    blind = Case(case.directory, replace(case.source, rpc_url=None), case.key_file)
    for step in (lineage, records, refusals, aggregation, attestations, credits, epsilon, artifacts):
        with pytest.raises(NotChecked):
            step(blind)
