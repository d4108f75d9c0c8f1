"""A server that hands out, drops or proposes what it should not: the hospitals notice, and nothing is finalized."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from small_federation import SmallFederation, liar, serving

from fedchest.accounting.cohort_ledger import CohortLedger
from fedchest.aggregation.fedavg import next_model
from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.federation.apps import client_app
from fedchest.federation.directory import SITE, SiteDocument, read_document
from fedchest.federation.messages import ModelMessage, UpdateReply
from fedchest.ledger.records import REQUIRED_CHECKS, Check, Phase, RoundState, VoidCause
from fedchest.refusals import Reason
from server.coordinator import Coordinator

pytestmark = pytest.mark.e2e


def another(message: ModelMessage) -> ModelMessage:
    """The message with a well-formed model that differs by one bit of one value."""
    values = parse_model(message.model)
    name = min(values)
    values[name] = np.nextafter(values[name], np.float32(np.inf))
    return replace(message, model=model_bytes(values))


def charges(federation: SmallFederation, institution: int) -> int:
    """How many reservations stand in the institution's own epsilon ledger."""
    document = read_document(federation.directory.institution(institution) / SITE, SiteDocument)
    with CohortLedger.open(document.epsilon_ledger, document.patients) as ledger:
        return len(ledger.entries())


class HandsOutAnotherModel(Coordinator):
    def training_message(self, state: RoundState) -> ModelMessage:
        return another(super().training_message(state))


class OpensUnderOtherRules(Coordinator):
    def open_round(self) -> RoundState:
        return self.ledger.round(self.ledger.open_round(bytes(31) + b"\1"))


class ShowsAnotherModel(Coordinator):
    def proposal_message(self, state: RoundState) -> ModelMessage:
        return another(super().proposal_message(state))


class DropsOne(Coordinator):
    dropped = (1,)

    def close_round(self, state: RoundState, replies: Mapping[int, UpdateReply | Reason]) -> None:
        kept = {member: reply for member, reply in replies.items() if member not in self.dropped}
        super().close_round(state, kept)


class DropsTwo(DropsOne):
    dropped = (1, 2)


@pytest.mark.parametrize("server", [HandsOutAnotherModel, OpensUnderOtherRules])
def test_a_model_or_rules_not_on_chain(make_federation, server):
    federation = make_federation()
    federation.run(server=serving(server))
    assert federation.refusals() == dict.fromkeys(range(4), Reason.WRONG_MODEL)
    assert federation.void_cause() is VoidCause.ABANDONED
    assert federation.ledger.submissions(1) == {}


def test_another_model_for_one_hospital_costs_it_no_epsilon(make_federation):
    def train(message: Message, context: Context) -> RecordDict:
        received = another(ModelMessage.from_record(message.content)).to_record()
        return client_app()(
            Message(received, reply_to=None, dst_node_id=3, message_type="train"), context
        ).content

    federation = make_federation(privacy={"dp": True})
    federation.run({2: liar(train=train)})
    assert federation.refusals() == {2: Reason.WRONG_MODEL}
    assert federation.state().phase is Phase.FINALIZED
    assert [charges(federation, institution) for institution in range(4)] == [1, 1, 0, 1]


def test_another_proposal_than_the_one_on_chain(make_federation):
    federation = make_federation()
    federation.run(server=serving(ShowsAnotherModel))
    assert set(federation.checks().values()) == {REQUIRED_CHECKS - Check.NEW_MODEL}
    assert_rejected(federation)


def test_two_honest_updates_dropped(make_federation):
    federation = make_federation()
    federation.run(server=serving(DropsTwo))
    without_own = REQUIRED_CHECKS - Check.OWN_UPDATE
    assert federation.checks() == {0: REQUIRED_CHECKS, 1: without_own, 2: without_own, 3: REQUIRED_CHECKS}
    assert_rejected(federation)


def test_one_honest_update_dropped_is_on_record(make_federation):
    """One voice of four can't void a round, or one liar could stop the study; what it says stays on the chain."""
    federation = make_federation()
    federation.run(server=serving(DropsOne))
    assert federation.checks()[1] == REQUIRED_CHECKS - Check.OWN_UPDATE
    assert federation.refusals() == {1: Reason.NO_REPLY}
    assert federation.state().phase is Phase.FINALIZED


def test_a_wrong_sum_passes_a_partial_attestation(make_federation, monkeypatch):
    """Its limit: who can't open the updates can't check the sum. The audit does (tests/audit/test_dishonest.py)."""

    def with_other_weights(base, updates, weights, codec):
        return next_model(base, updates, dict(zip(weights, (1, 2, 3, 4), strict=True)), codec)

    federation = make_federation()
    monkeypatch.setattr("server.coordinator.next_model", with_other_weights)
    federation.run()
    assert federation.checks() == dict.fromkeys(range(4), REQUIRED_CHECKS)
    assert federation.state().phase is Phase.FINALIZED


def assert_rejected(federation: SmallFederation) -> None:
    """The round is void by the hospitals' votes, and the model that stands is the one from before."""
    assert federation.state().phase is Phase.VOID
    assert federation.void_cause() is VoidCause.REJECTED
    assert federation.ledger.global_model() == federation.state().base_model
