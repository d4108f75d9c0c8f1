"""A round that can't reach its quorum ends at its deadline by itself."""

import shutil
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from small_federation import liar

from fedchest.federation.apps import client_app
from fedchest.federation.messages import refusal_record
from fedchest.ledger.records import REQUIRED_CHECKS, Phase, VoidCause
from fedchest.refusals import Reason

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


def test_a_proposal_without_a_quorum_expires_on_an_idle_chain(make_federation):
    federation = make_federation(partition={"institutions": 4}, chain={"attestation_seconds": 3})
    federation.run({2: liar(attest=silent), 3: liar(attest=silent)})
    assert federation.state().phase is Phase.VOID
    assert federation.void_cause() is VoidCause.EXPIRED
