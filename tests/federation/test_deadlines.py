"""A round that can't reach its quorum ends at its deadline by itself."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from small_federation import SmallFederation, liar

from fedchest.federation.apps import client_app
from fedchest.federation.messages import OpenedMessage, refusal_record
from fedchest.ledger.records import REQUIRED_CHECKS, Phase, VoidCause
from fedchest.refusals import Reason
from server.coordinator import Coordinator

pytestmark = pytest.mark.e2e


def silent(message: Message, context: Context) -> RecordDict:
    """A hospital that trains and then does not vote."""
    return refusal_record(Reason.SITE_FAULT)


def forgetful(message: Message, context: Context) -> RecordDict:
    """A hospital whose outbox was lost between its submission and its vote."""
    shutil.rmtree(Path(str(context.node_config["site"])) / "outbox")
    return client_app()(message, context).content


def test_who_lost_its_accepted_update_stays_silent_and_the_round_expires(make_federation):
    """Any share would be false, and a sum without the update could be made to fit it."""
    federation = make_federation(partition={"institutions": 4}, chain={"attestation_seconds": 5})
    federation.run({3: liar(attest=forgetful)})
    assert federation.checks() == dict.fromkeys(range(3), REQUIRED_CHECKS)
    assert federation.state().unanswered == 1
    assert federation.void_cause() is VoidCause.EXPIRED


def test_the_others_answer_for_who_fell_silent_and_consented(make_federation):
    federation = make_federation(
        partition={"institutions": 4}, protection={"open_if_silent": True}, chain={"attestation_seconds": 60}
    )
    federation.run({3: liar(attest=forgetful)})
    assert federation.checks() == dict.fromkeys(range(3), REQUIRED_CHECKS)
    vouchers = [
        event.values["voucher"] for event in federation.ledger.events() if event.name == "AnsweredFor"
    ]
    assert vouchers == [0, 1, 2]
    assert federation.state().phase is Phase.FINALIZED


def hung(message: Message, context: Context) -> RecordDict:
    """A hospital whose node stays connected and never replies: Flower gives it up when the message expires."""
    time.sleep(message.metadata.ttl)
    return refusal_record(Reason.SITE_FAULT)


def test_two_that_hang_are_both_answered_for_in_time(make_federation):
    federation = make_federation(
        partition={"institutions": 7}, protection={"open_if_silent": True}, chain={"attestation_seconds": 30}
    )
    federation.run({5: liar(attest=hung, vouch=hung), 6: liar(attest=hung, vouch=hung)}, workers=7)
    assert federation.checks() == dict.fromkeys(range(5), REQUIRED_CHECKS)
    assert federation.state().phase is Phase.FINALIZED


def test_an_update_is_not_answered_for_without_consent(make_federation, monkeypatch):
    """Whatever the coordinator hands out, the members look at what the institution committed to."""
    monkeypatch.setattr(Coordinator, "_may_open", lambda *_: True)
    federation = make_federation(partition={"institutions": 4}, chain={"attestation_seconds": 5})
    federation.run({3: liar(attest=forgetful)})
    assert "MANIFEST_MISMATCH" in said_by(federation, 0)
    assert federation.void_cause() is VoidCause.EXPIRED


def test_another_update_than_the_silent_one_committed_to_is_not_answered_for(make_federation):
    def another(message: Message, context: Context) -> RecordDict:
        opened = OpenedMessage.from_record(message.content)
        message.content = replace(opened, encoded=opened.encoded[:-1] + b"?").to_record()
        return client_app()(message, context).content

    federation = make_federation(
        partition={"institutions": 4}, protection={"open_if_silent": True}, chain={"attestation_seconds": 5}
    )
    deceived = {institution: liar(vouch=another) for institution in range(3)}
    federation.run({**deceived, 3: liar(attest=forgetful)})
    assert "PLAINTEXT_MISMATCH" in said_by(federation, 0)
    assert federation.void_cause() is VoidCause.EXPIRED


def said_by(federation: SmallFederation, institution: int) -> str:
    """The hospital's own log."""
    return (federation.directory.institution(institution) / "site.log").read_text()


def test_a_proposal_without_a_quorum_expires_on_an_idle_chain(make_federation):
    federation = make_federation(partition={"institutions": 4}, chain={"attestation_seconds": 3})
    federation.run({2: liar(attest=silent), 3: liar(attest=silent)})
    assert federation.state().phase is Phase.VOID
    assert federation.void_cause() is VoidCause.EXPIRED
