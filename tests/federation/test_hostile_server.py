"""A server that hands out, drops or proposes what it should not: the hospitals notice, and nothing is finalized."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from small_federation import SmallFederation, liar, serving

from fedchest.accounting.cohort_ledger import CohortLedger
from fedchest.aggregation.fedavg import weighted_sum
from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.federation.apps import client_app
from fedchest.federation.directory import SITE, SiteDocument, read_document
from fedchest.federation.messages import ModelMessage, ProposalMessage, UpdateReply
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


class ProposesFromAnotherModel(Coordinator):
    def proposal_message(self, state: RoundState) -> ProposalMessage:
        message = super().proposal_message(state)
        return replace(message, base=another(ModelMessage(message.round, message.base)).model)


class HandsOutAnotherSum(Coordinator):
    def proposal_message(self, state: RoundState) -> ProposalMessage:
        message = super().proposal_message(state)
        return replace(message, total=message.total[:-1] + bytes([message.total[-1] ^ 1]))


class DropsOne(Coordinator):
    dropped = (1,)

    def close_round(self, state: RoundState, replies: Mapping[int, UpdateReply | Reason]) -> None:
        kept = {member: reply for member, reply in replies.items() if member not in self.dropped}
        super().close_round(state, kept)


class DropsTwo(DropsOne):
    dropped = (1, 2)


def test_a_model_that_is_not_on_chain(make_federation):
    federation = make_federation()
    federation.run(server=serving(HandsOutAnotherModel))
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


def test_a_proposal_from_another_base_model(make_federation):
    federation = make_federation()
    federation.run(server=serving(ProposesFromAnotherModel))
    from_another = REQUIRED_CHECKS - Check.NEW_MODEL - Check.BASE_MODEL
    assert set(federation.checks().values()) == {from_another}
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


@pytest.mark.parametrize("weights", [(1, 2, 3, 4), (1, 1, 1, 0)], ids=["other weights", "one left out"])
def test_a_wrong_sum_is_disputed_by_those_who_see_only_their_own_update(
    make_federation, monkeypatch, weights
):
    """Every hospital's own checks pass; it is the fingerprints together that give the lie away."""
    federation = make_federation()
    monkeypatch.setattr("server.coordinator.weighted_sum", summing_with(weights))
    federation.run()
    assert set(federation.checks().values()) == {REQUIRED_CHECKS}
    assert federation.state().phase is Phase.VOID
    assert federation.void_cause() is VoidCause.DISPUTED
    assert federation.ledger.global_model() == federation.state().base_model


def test_an_update_that_never_existed_is_disputed(make_federation, monkeypatch):
    def with_a_step_more(updates, weights):
        total = weighted_sum(updates, weights)
        total[0] += 1
        return total

    federation = make_federation()
    monkeypatch.setattr("server.coordinator.weighted_sum", with_a_step_more)
    federation.run()
    assert federation.void_cause() is VoidCause.DISPUTED


def test_another_sum_than_the_one_on_chain(make_federation):
    federation = make_federation()
    federation.run(server=serving(HandsOutAnotherSum))
    assert all(not checks & Check.SUM for checks in federation.checks().values())
    assert_rejected(federation)


def test_a_sum_beyond_the_norm_bound_is_rejected(make_federation, monkeypatch):
    def enormous(updates, weights):
        total = weighted_sum(updates, weights)
        return np.full_like(total, 1 << 50)

    federation = make_federation()
    monkeypatch.setattr("server.coordinator.weighted_sum", enormous)
    federation.run()
    without_norm = REQUIRED_CHECKS - Check.NORM
    assert set(federation.checks().values()) == {without_norm}
    assert_rejected(federation)


def summing_with(weights):
    """The sum of the updates under these weights, whatever is registered."""

    def wrong(updates, registered):
        return sum(np.multiply(u.values, w, dtype=np.int64) for u, w in zip(updates, weights, strict=True))

    return wrong


def assert_rejected(federation: SmallFederation) -> None:
    """The round is void by the hospitals' votes, and the model that stands is the one from before."""
    assert federation.state().phase is Phase.VOID
    assert federation.void_cause() is VoidCause.REJECTED
    assert federation.ledger.global_model() == federation.state().base_model


def test_an_artifact_root_over_something_else_is_rejected(make_federation, monkeypatch):
    monkeypatch.setattr("server.coordinator.artifact_root", lambda _artifacts: b"?" * 32)
    federation = make_federation()
    federation.run()
    assert set(federation.checks().values()) == {REQUIRED_CHECKS - Check.ARTIFACTS}
    assert_rejected(federation)
