"""The state machine takes what the contract emits, and nothing else: no event can be dropped, changed or made up."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from studies import BUDGET, CONFIG, StudyOnChain

from fedchest.audit.case import Case
from fedchest.audit.machine import Machine
from fedchest.audit.report import Fault
from fedchest.audit.rules import drawn
from fedchest.audit.source import Source
from fedchest.audit.steps.chain.events import events as events_step
from fedchest.federation.directory import RunDirectory
from fedchest.ledger.records import Event, Phase, VoidCause
from fedchest.ledger.rpc import command, connect
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext

pytestmark = pytest.mark.e2e

OTHER_HASH, OTHER_WALLET = b"?" * 32, "0x" + "22" * 20


@pytest.fixture(scope="module")
def case(played: StudyOnChain, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Every event and every outcome of a round, without a run around it."""
    return case_of(played, played.coordinator._w3.provider.endpoint_uri, tmp_path_factory.mktemp("case"))


def case_of(study: StudyOnChain, rpc_url: str, folder: Path) -> Case:
    case = Case(RunDirectory(folder), Source(rpc_url, "a node", [], [], {}), folder / "no.key")
    vars(case).update(ledger=study.coordinator, events=study.coordinator.events())
    return case


def telling(case: Case, events: Sequence[Event]) -> Case:
    """The same contract, whose events are told otherwise."""
    other = Case(case.directory, case.source, case.key_file)
    known = {name: getattr(case, name) for name in ("ledger", "blocks", "rounds", "institutions")}
    vars(other).update(known | {"events": list(events)})
    return other


def altered(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, VoidCause):
        return VoidCause((value + 1) % 4)
    if isinstance(value, int):
        return value + 1
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1, *value[1:]])
    if isinstance(value, tuple):
        return value[:-1] or (1,)
    return OTHER_WALLET if isinstance(value, str) else replace(value, study=OTHER_HASH)


def unknowable(case: Case, event: Event, field: str) -> bool:
    """What nothing follows from; the receipts' root holds it (test_history.py)."""
    if event.name == "Attested" and field == "share":
        return event.institution not in case.accepted(event.round)
    if event.name == "Attested" and not event.values["agrees"]:
        return field in ("recomputed_model", "fingerprint", "checks")
    return (event.name, field) in {
        ("UpdateRefused", "reason"),
        ("EquivocationProven", "commitment"),
        ("EquivocationProven", "other_commitment"),
    }


def test_what_the_contract_emits_is_taken(case):
    assert "6 rounds and 5 institutions" in events_step(case)


def test_an_equivocation_that_was_proven_is_told_and_no_fault(case):
    assert events_step(case).endswith("equivocations were proven against institution 0 in round 1")


def test_each_event_is_missed(case):
    """But refusals, which nothing follows from: the records step misses those."""
    for place, event in enumerate(case.events):
        if event.name == "UpdateRefused":
            continue
        with pytest.raises(Fault):
            events_step(telling(case, [*case.events[:place], *case.events[place + 1 :]]))


def test_each_field_of_each_event_counts(case):
    for place, event in enumerate(case.events):
        for name, value in event.values.items():
            if unknowable(case, event, name):
                continue
            changed = replace(event, values={**event.values, name: altered(value)})
            with pytest.raises(Fault) as fault:
                events_step(telling(case, [*case.events[:place], changed, *case.events[place + 1 :]]))
            assert fault.value.findings[0].expected != fault.value.findings[0].found, (event.name, name)


def anyone_may(event: Event, field: str) -> bool:
    """What the machine can't tell: who relayed it, and the round of an equivocation, which the two signatures hold."""
    if event.name == "EquivocationProven":
        return field in ("sender", "round")
    expired = event.values.get("cause") is VoidCause.EXPIRED
    return field == "sender" and (event.name == "UpdateSubmitted" or expired)


@pytest.mark.parametrize("change", [{"sender": OTHER_WALLET}, {"round": 99}, {"institution": 99}])
def test_sender_round_and_institution_of_each_event_count(case, change):
    (field,) = change
    for place, event in enumerate(case.events):
        if getattr(event, field) is None or anyone_may(event, field):
            continue
        with pytest.raises(Fault):
            events_step(
                telling(case, [*case.events[:place], replace(event, **change), *case.events[place + 1 :]])
            )


FREE = {"UpdateRefused", "EquivocationProven", "SupportWithdrawn"}
"""Nothing that comes right before or after them depends on them."""


def test_two_events_in_the_other_order(case):
    """Neighbours of different kinds can't be swapped, but for the last founder and the first supporter.

    Nor can a vote and what another answers for a third, which have nothing to do with each other.
    """
    independent = [("InstitutionRegistered", "DecisionSupported"), ("Attested", "AnsweredFor")]
    for place, (first, second) in enumerate(zip(case.events, case.events[1:], strict=False)):
        kinds = (first.name, second.name)
        if len(set(kinds)) == 2 and not FREE & {*kinds} and kinds not in independent:
            swapped = [*case.events[:place], second, first, *case.events[place + 2 :]]
            with pytest.raises(Fault):
                events_step(telling(case, swapped))


def first(case: Case, name: str) -> Event:
    return case.events_of(name)[0]


REPEATS = {
    "StudyCreated": "one creation",
    "InstitutionRegistered": "3",
    "RoundOpened": "no live round",
    "UpdateSubmitted": "one submission",
    "AggregateProposed": "phase SUBMITTING",
    "Attested": "one vote",
    "RoundFinalized": "Credited",
    "Credited": "Credited",
    "RoundVoided": "phase OPEN or SUBMITTING or PROPOSED",
    "RoleGranted": "RoleGranted",
    "RoleRevoked": "a decision",
    "DecisionSupported": "one support",
    "SupportWithdrawn": "its support",
    "DecisionTaken": "InitialModelApproved",
    "InitialModelApproved": "a decision",
    "InstitutionSuspended": "a decision",
    "InstitutionReinstated": "a decision",
    "InstitutionRevoked": "a decision",
    "KeyRotated": "wallet",
    "Paused": "a decision",
    "Unpaused": "a decision",
    "ModelRestored": "a decision",
    "AllowanceChanged": "a decision",
    "EquivocationProven": "one proof",
}


@pytest.mark.parametrize(("name", "expected"), REPEATS.items())
def test_an_event_that_is_told_twice_is_named(case, name, expected):
    event = first(case, name)
    place = case.events.index(event)
    with pytest.raises(Fault) as fault:
        events_step(telling(case, [*case.events[: place + 1], *case.events[place:]]))
    finding = fault.value.findings[0]
    assert expected in (finding.expected or "") or name == "InstitutionRegistered"
    assert (finding.round, finding.institution) == (event.round, event.institution)


def test_an_event_of_another_kind_is_named(case):
    strange = replace(case.events[-1], name="RulesChanged")
    with pytest.raises(Fault, match=r"RulesChanged in block .* is no event that the state machine knows"):
        events_step(telling(case, [*case.events, strange]))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda state: replace(state, agreeing=state.agreeing + 1), "another agreeing"),
        (lambda state: replace(state, phase=Phase.VOID), "another phase"),
        (lambda state: replace(state, record=OTHER_HASH), "another record"),
    ],
)
def test_a_contract_that_shows_something_else_than_its_events(case, change: Callable[[Any], Any], what):
    other = telling(case, case.events)
    vars(other)["rounds"] = [change(case.rounds[0]), *case.rounds[1:]]
    with pytest.raises(Fault, match=f"round 1: the contract shows {what}"):
        events_step(other)


def test_storage_that_an_operator_edited(chain, tmp_path):
    """An edit behind the contract's back changes no block and no event; the views no longer follow."""
    study = StudyOnChain(chain.rpc_url, tmp_path)
    number = study.finalized_round()
    w3 = connect(chain.rpc_url)
    snapshot = command(w3, "evm_snapshot")
    rounds, new_model = 17, 3  # slot of the mapping, place of the hash in a round
    slot = int.from_bytes(keccak(number.to_bytes(32) + rounds.to_bytes(32))) + new_model
    command(w3, "anvil_setStorageAt", study.address, f"0x{slot:064x}", "0x" + OTHER_HASH.hex())
    with pytest.raises(Fault, match="another global model than its events lead to") as fault:
        events_step(case_of(study, chain.rpc_url, tmp_path))
    assert fault.value.findings[0].found == "0x" + OTHER_HASH.hex()
    command(w3, "evm_revert", snapshot)


@pytest.mark.parametrize("size", [3, 5])
def test_a_cohort_is_drawn_again(chain, tmp_path, size):
    study = StudyOnChain(chain.rpc_url, tmp_path, size=9, cohort_size=size)
    for _ in range(3):
        round = study.coordinator.open_round(CONFIG)
        study.coordinator.abandon(round, {})
    case = case_of(study, chain.rpc_url, tmp_path)
    assert "3 rounds and 9 institutions" in events_step(case)
    opened = case.events_of("RoundOpened", 2)[0]
    place = case.events.index(opened)
    suited = replace(opened, values={**opened.values, "members": tuple(range(size))})
    with pytest.raises(Fault, match="another members than follows"):
        events_step(telling(case, [*case.events[:place], suited, *case.events[place + 1 :]]))


def test_a_draw_of_all_is_all():
    assert sorted(drawn(bytes(32), range(7), 7)) == list(range(7))


def test_an_outcome_that_never_came(case):
    """The vote that completes the quorum foretells its outcome: a history can't end before it."""
    finalized = case.events.index(first(case, "RoundFinalized"))
    machine = Machine(case.ledger.chain_id, case.ledger.address, lambda block: bytes(32))
    with pytest.raises(Fault, match="the events end"):
        machine.replay(case.events[:finalized])


# One rule at a time: everything about the event is right but for what the rule forbids.


def replayed(case: Case, events: Sequence[Event]) -> None:
    machine = Machine(
        case.ledger.chain_id, case.ledger.address, lambda block: case.blocks[block - 1].header.hash
    )
    machine.replay(events)


def valued(event: Event, **values: Any) -> Event:
    return replace(event, values={**event.values, **values})


def spending(case: Case, event: Event, epsilon: int) -> Event:
    """The submission with another epsilon, and the commitment that goes with it."""
    assert event.round is not None and event.institution is not None
    context = UpdateContext(
        case.ledger.chain_id,
        case.ledger.address,
        event.round,
        event.institution,
        case.rounds[event.round - 1].base_model,
    )
    hashes = [event.values[name] for name in ("sealed_hash", "plaintext_hash", "manifest_hash")]
    committed = commitment(context, *hashes, event.values["weight_class"], epsilon)
    return valued(event, epsilon=epsilon, commitment=committed)


def coordinator(case: Case) -> str:
    return str(first(case, "StudyCreated").values["coordinator"])


def event_of(case: Case, name: str, round: int | None = None, which: int = 0) -> Event:
    return case.events_of(name, round)[which]


def voided(case: Case, cause: VoidCause) -> Event:
    return next(event for event in case.events_of("RoundVoided") if event.values["cause"] is cause)


def deadline(case: Case, event: Event, kind: str) -> int:
    return event_of(case, kind, event.round).values["deadline"]


def after(case: Case, event: Event, kind: str) -> Event:
    return replace(event, timestamp=deadline(case, event, kind) + 1)


Broken = Callable[[Case], tuple[Event, Event]]
"""The event to replace, and what replaces it."""


def changing(
    name: str, change: Callable[[Case, Event], Event], round: int | None = None, which: int = 0
) -> Broken:
    def broken(case: Case) -> tuple[Event, Event]:
        event = event_of(case, name, round, which)
        return event, change(case, event)

    return broken


def voiding(cause: VoidCause, change: Callable[[Case, Event], Event]) -> Broken:
    return lambda case: (voided(case, cause), change(case, voided(case, cause)))


RULES_BROKEN: dict[str, tuple[Broken, str]] = {
    "rules without time": (
        changing(
            "StudyCreated", lambda case, e: valued(e, rules=replace(e.values["rules"], submission_seconds=0))
        ),
        "rules that the constructor takes",
    ),
    "created by another": (
        changing("StudyCreated", lambda case, e: valued(e, coordinator=OTHER_WALLET)),
        "wallet 0x",
    ),
    "a wallet twice": (
        changing(
            "InstitutionRegistered",
            lambda case, e: valued(e, wallet=event_of(case, e.name).values["wallet"]),
            which=1,
        ),
        "a wallet of its own",
    ),
    "the coordinator as an institution": (
        changing("InstitutionRegistered", lambda case, e: valued(e, wallet=coordinator(case))),
        "a wallet of its own",
    ),
    "no weight": (
        changing("InstitutionRegistered", lambda case, e: valued(e, weight_class=0)),
        "a weight class above 0",
    ),
    "a late submission": (
        changing("UpdateSubmitted", lambda case, e: after(case, e, "RoundOpened")),
        "a time up to",
    ),
    "above the budget": (
        changing("UpdateSubmitted", lambda case, e: spending(case, e, BUDGET + 1)),
        "epsilon from 0 to",
    ),
    "less than before": (
        changing("UpdateSubmitted", lambda case, e: spending(case, e, 1), round=3),
        "epsilon from",
    ),
    "a refusal without a reason": (
        changing("UpdateRefused", lambda case, e: valued(e, reason=0)),
        "a reason",
    ),
    "no model": (
        changing("AggregateProposed", lambda case, e: valued(e, new_model=bytes(32))),
        "a model",
    ),
    "too few": (
        changing("AggregateProposed", lambda case, e: valued(e, accepted=(0,))),
        "at least 2 accepted",
    ),
    "out of order": (changing("AggregateProposed", lambda case, e: valued(e, accepted=(1, 0))), "(0, 1)"),
    "never submitted": (
        changing("AggregateProposed", lambda case, e: valued(e, accepted=(0, 1, 3))),
        "only updates that were submitted",
    ),
    "accepted and refused": (
        changing("AggregateProposed", lambda case, e: valued(e, accepted=(0, 1, 2)), round=3),
        "accepted or refused",
    ),
    "a vote after the deadline": (
        changing("Attested", lambda case, e: after(case, e, "AggregateProposed")),
        "a time up to",
    ),
    "expired in time": (
        voiding(
            VoidCause.EXPIRED,
            lambda case, e: replace(e, timestamp=deadline(case, e, "AggregateProposed")),
        ),
        "a time after",
    ),
    "abandoned after the proposal": (
        voiding(
            VoidCause.EXPIRED,
            lambda case, e: replace(valued(e, cause=VoidCause.ABANDONED), sender=coordinator(case)),
        ),
        "a round without a proposal",
    ),
    "rejected by too few": (
        voiding(VoidCause.EXPIRED, lambda case, e: valued(e, cause=VoidCause.REJECTED)),
        "the quorum out of reach",
    ),
    "finalized by too few": (
        voiding(
            VoidCause.EXPIRED,
            lambda case, e: replace(
                e,
                name="RoundFinalized",
                values={"new_model": event_of(case, "AggregateProposed", e.round).values["new_model"]},
            ),
        ),
        "3 votes",
    ),
    "credits for nothing": (
        voiding(
            VoidCause.EXPIRED,
            lambda case, e: replace(e, name="Credited", round=1, institution=3, values={"amount": 1}),
        ),
        "credits for a round finalized now",
    ),
    "a round while another lives": (
        voiding(VoidCause.EXPIRED, lambda case, e: event_of(case, "RoundOpened", 5)),
        "no live round",
    ),
}


@pytest.mark.parametrize(("broken", "expected"), RULES_BROKEN.values(), ids=RULES_BROKEN.keys())
def test_a_rule_of_the_contract(case, broken: Broken, expected):
    event, changed = broken(case)
    place = case.events.index(event)
    with pytest.raises(Fault) as fault:
        replayed(case, [*case.events[:place], changed])
    finding = fault.value.findings[0]
    assert (finding.expected or "").startswith(expected), str(finding)
    assert finding.what.startswith(changed.name)
