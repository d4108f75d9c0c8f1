"""A round that can't reach its quorum ends at its deadline by itself."""

import pytest
from flwr.app import Context, Message, RecordDict
from small_federation import liar

from fedchest.federation.messages import refusal_record
from fedchest.ledger.records import Phase, VoidCause
from fedchest.refusals import Reason

pytestmark = pytest.mark.e2e


def silent(message: Message, context: Context) -> RecordDict:
    """A hospital that trains and then does not vote."""
    return refusal_record(Reason.SITE_FAULT)


def test_a_proposal_without_a_quorum_expires_on_an_idle_chain(make_federation):
    federation = make_federation(partition={"institutions": 4}, chain={"attestation_seconds": 3})
    federation.run({2: liar(attest=silent), 3: liar(attest=silent)})
    assert federation.state().phase is Phase.VOID
    assert federation.void_cause() is VoidCause.EXPIRED
