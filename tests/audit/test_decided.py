"""The replay of decisions, membership and answers: what the institutions decide is followed, and nothing else is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_support import supporting
from studies import BUDGET, CONFIG, WEIGHT, StudyOnChain

from fedchest.audit.case import Case
from fedchest.audit.machine import Machine
from fedchest.audit.report import Fault, Finding
from fedchest.audit.source import Source
from fedchest.audit.steps.chain.events import events as events_step
from fedchest.federation.directory import RunDirectory
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.records import Event, VoidCause

pytestmark = pytest.mark.e2e

NEWCOMER, SUCCESSOR = "0x" + "21" * 20, "0x" + "31" * 20

Found = Callable[..., StudyOnChain]


@pytest.fixture
def founded(chain: LocalChain, tmp_path: Path) -> Found:
    return lambda **rules: StudyOnChain(chain.rpc_url, tmp_path, **rules)


def case_of(study: StudyOnChain) -> Case:
    url = study.coordinator._w3.provider.endpoint_uri
    case = Case(RunDirectory(Path()), Source(url, "a node", [], [], {}), Path("no.key"))
    vars(case)["ledger"] = study.coordinator
    return case


def passes(study: StudyOnChain) -> str:
    return events_step(case_of(study))


def refused(study: StudyOnChain, events: Sequence[Event]) -> Finding:
    """Why the machine does not take these events for the study's."""
    case = case_of(study)
    machine = Machine(
        case.ledger.chain_id, case.ledger.address, lambda block: case.blocks[block - 1].header.hash
    )
    with pytest.raises(Fault) as fault:
        machine.replay(events)
    return fault.value.findings[0]


def last(events: Sequence[Event], name: str) -> int:
    """The place of the last event of a kind."""
    return max(place for place, event in enumerate(events) if event.name == name)


def named(event: Event, name: str, **values: Any) -> Event:
    """An event of another kind, of the same transaction."""
    return replace(event, name=name, institution=None, values=values)


# Decisions.


def test_a_decision_taken_without_its_quorum(founded):
    study = founded()
    for institution in study.institutions[:2]:
        institution.suspend(3)
    events = study.coordinator.events()
    taken = named(events[-1], "DecisionTaken", decision=events[-1].values["decision"])
    finding = refused(study, [*events, taken])
    assert (finding.expected, finding.found) == ("the support of 3", "2 supporters")


def test_an_effect_without_its_decision(founded):
    study = founded()
    events = study.coordinator.events()
    suspended = replace(events[-1], name="InstitutionSuspended", institution=3, values={})
    assert refused(study, [*events, suspended]).expected == "a decision that was taken"


def test_another_effect_than_was_decided(founded):
    study = founded()
    supporting(study, LedgerClient.suspend, 3)
    events = study.coordinator.events()
    finding = refused(study, [*events[:-1], replace(events[-1], institution=2)])
    assert finding.expected == "InstitutionSuspended institution 3"


def test_the_support_of_one_who_was_suspended_does_not_count(founded):
    study = founded(size=5)
    study.institutions[4].set_allowed(b"o" * 32, True)
    supporting(study, LedgerClient.suspend, 4)
    for institution in study.institutions[:2]:
        institution.set_allowed(b"o" * 32, True)
    assert "0 rounds and 5 institutions" in passes(study)
    study.institutions[2].set_allowed(b"o" * 32, True)
    assert study.coordinator.events()[-1].name == "AllowanceChanged"
    passes(study)


def test_a_decision_that_the_replay_does_not_know(founded):
    """Here one without an effect; but no audit can go on, unsaid, from what it can't foretell."""
    study = founded()
    for institution in study.institutions[:3]:
        institution._support("renounceRole", institution._view("COORDINATOR"), study.address)
    finding = refused(study, study.coordinator.events())
    assert finding.what.endswith("decides what the state machine does not know")


def test_a_study_that_moved(founded):
    study = founded()
    study.finalized_round()
    supporting(study, LedgerClient.move_study, SUCCESSOR)
    events = study.coordinator.events()
    assert [event.name for event in events[-2:]] == ["StudyMoved", "Paused"]
    passes(study)
    assert refused(study, events[:-1]).expected == "Paused"
    moved = replace(events[-2], values={**events[-2].values, "checkpoint": bytes(32)})
    assert "another checkpoint" in refused(study, [*events[:-2], moved]).what


# Who takes part.


def test_a_founder_listed_after_the_founding(founded):
    study = founded()
    events = study.coordinator.events()
    first = next(event for event in events if event.name == "InstitutionRegistered")
    values = {"wallet": NEWCOMER, "weight_class": WEIGHT, "epsilon_budget": BUDGET}
    finding = refused(study, [*events, replace(first, institution=4, values=values)])
    assert finding.expected == "a decision that was taken"


def test_a_suspended_institution_that_acts(founded):
    """The very update and vote that it gave before it was suspended, told as if they had come after."""
    study = founded(size=5)
    round = study.coordinator.open_round(CONFIG)
    study.submit(0, round)
    study.submit(4, round)
    study.propose(round, accepted=[0, 4])
    study.attest(4, round)
    before = study.coordinator.events()
    supporting(study, LedgerClient.suspend, 4)
    suspension = study.coordinator.events()[len(before) :]
    passes(study)
    for kind in ("UpdateSubmitted", "Attested"):
        place = last(before, kind)
        finding = refused(study, [*before[:place], *suspension, before[place]])
        assert (finding.what.split()[0], finding.expected, finding.found) == (
            kind,
            "status ACTIVE",
            "SUSPENDED",
        )


def test_a_retired_key_that_acts(founded):
    study = founded()
    study.institutions[3].pause()
    support = study.coordinator.events()[-1]
    study.institutions[3].withdraw("pause")
    study.institutions[3].rotate_own_key(NEWCOMER)
    passes(study)
    finding = refused(study, [*study.coordinator.events(), support])
    assert (finding.expected, finding.found) == (f"wallet {NEWCOMER}", support.sender)


def test_a_cohort_is_drawn_from_the_active_in_the_contracts_order(founded):
    """Whoever leaves is replaced by the last, and comes back at the end."""
    study = founded(size=7, cohort_size=3)
    for action in (LedgerClient.suspend, LedgerClient.reinstate):
        for institution in (0, 1, 3, 4, 5):
            action(study.institutions[institution], 2)
    for _ in range(4):
        study.coordinator.abandon(study.coordinator.open_round(CONFIG), {})
    assert "4 rounds and 7 institutions" in passes(study)


def test_a_submission_that_somebody_else_sends(founded):
    study = founded()
    update = study.update(2, study.coordinator.open_round(CONFIG))
    study.coordinator.submit_update_for(update, study.institutions[2].sign_update(update))
    assert study.coordinator.events()[-1].sender == study.wallet.address
    passes(study)


# Outcomes.


def test_a_round_finalized_without_an_answer(founded):
    study = founded()
    round = study.proposed_round()
    for institution in (0, 2, 3):
        study.attest(institution, round)
    passes(study)
    events = study.coordinator.events()
    model = study.coordinator.round(round).new_model
    finding = refused(study, [*events, named(events[-1], "RoundFinalized", new_model=model)])
    assert (finding.expected, finding.found) == ("every accepted one's answer", "none of [1]")


def test_a_disputed_round_called_finalized(founded):
    study = founded()
    round = study.proposed_round()
    study.attest(0, round)
    study.attest(1, round, share=bytes(24))
    events = study.coordinator.events()
    assert events[-1].values == {"cause": VoidCause.DISPUTED}
    passes(study)
    model = study.coordinator.round(round).new_model
    finding = refused(study, [*events[:-1], named(events[-1], "RoundFinalized", new_model=model)])
    assert finding.expected == f"RoundVoided round {round} cause DISPUTED"


def test_a_round_called_disputed_whose_answers_add_up(founded):
    study = founded()
    round = study.proposed_round()
    study.attest(0, round)
    events = study.coordinator.events()
    finding = refused(study, [*events, named(events[-1], "RoundVoided", cause=VoidCause.DISPUTED)])
    assert finding.expected == "answers that don't add up"


def test_a_model_restored_from_a_round_that_was_not_finalized(founded):
    study = founded()
    round = study.finalized_round()
    supporting(study, LedgerClient.restart_from, 0)
    study.coordinator.abandon(study.coordinator.open_round(CONFIG), {})
    passes(study)
    supporting(study, LedgerClient.restart_from, round)
    passes(study)
    restored = study.coordinator.events()
    changed = replace(restored[-1], round=round + 1)
    assert refused(study, [*restored[:-1], changed]).expected == f"ModelRestored round {round}"
