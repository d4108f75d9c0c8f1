"""Each party's lie, one at a time, in a run whose chain takes it: named with round, institution, expected and found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from audit_support import failures
from flwr.app import Context, Message, RecordDict
from small_federation import SmallFederation, forge, liar, serving, site_artifacts

import server.coordinator as coordinator_module
from fedchest.aggregation.fedavg import weighted_sum
from fedchest.aggregation.fingerprint import NOTHING
from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.audit.report import Finding, Layer, Verdict
from fedchest.audit.verify import verify_run
from fedchest.federation.apps import client_app
from fedchest.federation.expectation import accepted_update
from fedchest.federation.messages import ModelMessage, ProposalMessage, UpdateReply
from fedchest.federation.recomputation import recompute
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.records import Attestation, Phase, Proposal, Receipt, RoundState, VoidCause
from fedchest.protection.codec import Codec
from fedchest.protection.sealing import open_sealed
from fedchest.refusals import Reason, Refused
from server.coordinator import Coordinator

pytestmark = pytest.mark.e2e

VICTIM = 2


def found(federation: SmallFederation, step: str, *also: str, phase: Phase = Phase.FINALIZED) -> Finding:
    """The finding of the one step that fails; `also` are those that follow from it. `phase` is how it ended."""
    assert federation.state().phase is phase
    report = verify_run(federation.directory, rpc_url=federation.rpc_url, keep_going=True)
    assert set(failures(report)) == {step, *also}, report.sentence()
    assert report.exit_status == 1
    first = verify_run(federation.directory, rpc_url=federation.rpc_url)
    assert first.exit_status == 1
    assert [outcome.verdict for outcome in first.outcomes].count(Verdict.FAILED) == 1
    finding = failures(report)[step].findings[0]
    assert finding.expected is not None and finding.expected != finding.found
    return finding


def proposed(federation: SmallFederation) -> str:
    return "0x" + federation.state().new_model.hex()


def proposed_sum(federation: SmallFederation) -> str:
    return "0x" + federation.state().sum_hash.hex()


# The coordinator aggregates something else than the accepted updates, by the registered weights.


def with_other_weights(updates, weights):
    return weighted_sum(updates, (1, 2, 3, 4))


def without_one(updates, weights):
    return weighted_sum(without(VICTIM, updates), without(VICTIM, weights))


def with_one_that_never_existed(updates, weights):
    invented = replace(updates[0], values=updates[0].values[::-1].copy())
    return weighted_sum([*updates, invented], [*weights, 1])


def without(place: int, items: Sequence[Any]) -> list[Any]:
    return [item for number, item in enumerate(items) if number != place]


@pytest.mark.parametrize(
    "lie", [with_other_weights, without_one, with_one_that_never_existed], ids=lambda f: f.__name__
)
def test_a_coordinator_that_proposes_something_else_than_the_sum(make_federation, monkeypatch, lie):
    """The institutions' answers void the round; the audit says which sum it should have been."""
    federation = make_federation()
    monkeypatch.setattr(coordinator_module, "weighted_sum", lie)
    federation.run()
    assert federation.void_cause() is VoidCause.DISPUTED
    finding = found(federation, "aggregation", phase=Phase.VOID)
    assert (finding.round, finding.found) == (1, proposed_sum(federation))


def test_a_coordinator_that_has_the_quorum_on_its_side(make_federation, monkeypatch):
    """It knows every update, and so the one false share that makes its wrong sum add up; one hospital gives it."""
    federation = make_federation()
    monkeypatch.setattr(coordinator_module, "weighted_sum", without_one)
    honest = LedgerClient.attest

    def attest(ledger: LedgerClient, number: int, attestation: Attestation) -> Receipt:
        me = ledger.institution_id(str(ledger.wallet and ledger.wallet.address))
        share = NOTHING if me == VICTIM else attestation.share
        return honest(ledger, number, replace(attestation, share=share))

    monkeypatch.setattr(LedgerClient, "attest", attest)
    federation.run()
    finding = found(federation, "aggregation")
    assert (finding.round, finding.institution) == (1, VICTIM)
    assert "not its committed update's" in finding.what


def test_a_coordinator_whose_artifact_root_is_of_something_else(make_federation, monkeypatch):
    federation = make_federation()
    monkeypatch.setattr(coordinator_module, "artifact_root", lambda _artifacts: b"?" * 32)
    federation.run()
    assert federation.void_cause() is VoidCause.REJECTED
    finding = found(federation, "records", phase=Phase.VOID)
    assert (finding.round, finding.found) == (1, "0x" + (b"?" * 32).hex())


def test_a_coordinator_that_proposes_an_old_model_again(make_federation, monkeypatch):
    def the_old_one(base, total, claim, layout, codec):
        honest = recompute(base, total, claim, layout, codec)
        return replace(honest, new_model=honest.base_model, model=parse_model(base))

    federation = make_federation()
    monkeypatch.setattr(coordinator_module, "recompute", the_old_one)
    federation.run()
    assert federation.void_cause() is VoidCause.REJECTED
    finding = found(federation, "aggregation", "distribution", phase=Phase.VOID)
    assert finding.found == proposed(federation) + ", the model that round 1 started from"


# The coordinator reports another accepted set than it used.


def reporting(accepted: Callable[[Sequence[int]], list[int]]) -> Callable[..., Receipt]:
    honest = LedgerClient.propose

    def propose(
        ledger: LedgerClient,
        number: int,
        proposal: Proposal,
        used: Sequence[int],
        scores: Sequence[int],
        refusals: Mapping[int, int],
    ) -> Receipt:
        told = accepted(used)
        dropped = {member: Reason.NO_REPLY for member in used if member not in told}
        return honest(ledger, number, proposal, told, scores, {**refusals, **dropped})

    return propose


def test_a_coordinator_that_reports_fewer_than_it_used(make_federation, monkeypatch):
    federation = make_federation()
    monkeypatch.setattr(LedgerClient, "propose", reporting(lambda used: [i for i in used if i != VICTIM]))
    federation.run()
    finding = found(federation, "records", "refusals", "aggregation", "distribution", phase=Phase.VOID)
    assert (finding.round, finding.institution) == (1, VICTIM)
    assert (finding.expected, finding.found) == ("NO_REPLY", "accepted")


def test_a_coordinator_that_uses_one_that_it_reports_as_refused(make_federation, monkeypatch):
    """Its record lies too, so that only the sum tells."""
    federation = make_federation()
    victim = federation.ledger.institution(VICTIM).wallet
    kept: list[Any] = []

    def refuse_but_keep(reply, submission, member, expected, key):
        update = accepted_update(reply, submission, member, expected, key)
        if member.wallet == victim:
            kept.append(update)
            raise Refused(Reason.NORM_EXCEEDED)
        return update

    def with_the_kept(updates, weights):
        return weighted_sum([*updates, *kept], [*weights, 1])

    monkeypatch.setattr(coordinator_module, "accepted_update", refuse_but_keep)
    monkeypatch.setattr(coordinator_module, "weighted_sum", with_the_kept)
    federation.run()
    finding = found(federation, "aggregation", "refusals", phase=Phase.VOID)
    assert (finding.round, finding.found) == (1, proposed_sum(federation))


# The coordinator gives two hospitals different models.


def another(message: ModelMessage) -> ModelMessage:
    """The message with a well-formed model that differs by one bit of one value."""
    values = parse_model(message.model)
    name = min(values)
    values[name] = np.nextafter(values[name], np.float32(np.inf))
    return replace(message, model=model_bytes(values))


def handed_another_model(message: Message, context: Context) -> RecordDict:
    """What an honest hospital answers when the coordinator hands it another model than the others."""
    return handed(another(ModelMessage.from_record(message.content)).to_record(), "train", context)


def handed_another_proposal(message: Message, context: Context) -> RecordDict:
    """The same of a proposal: its sum with another value."""
    proposal = ProposalMessage.from_record(message.content)
    values = np.frombuffer(proposal.total[-8:], "<i8") + (1 << 40)
    changed = replace(proposal, total=proposal.total[:-8] + values.tobytes())
    return handed(changed.to_record(), "query.attest", context)


def handed(content: RecordDict, kind: str, context: Context) -> RecordDict:
    received = Message(content, reply_to=None, dst_node_id=3, message_type=kind)
    return client_app()(received, context).content


class HidesTheComplaint(Coordinator):
    """Writes on chain that whoever complains did not answer."""

    def close_round(self, state: RoundState, replies: Mapping[int, UpdateReply | Reason]) -> None:
        silent = {
            member: Reason.NO_REPLY if reply is Reason.WRONG_MODEL else reply
            for member, reply in replies.items()
        }
        super().close_round(state, silent)


@pytest.mark.parametrize("server", [Coordinator, HidesTheComplaint])
def test_a_coordinator_that_hands_out_two_base_models(make_federation, server):
    federation = make_federation()
    federation.run({VICTIM: liar(train=handed_another_model)}, server=serving(server))
    finding = found(federation, "distribution")
    assert (finding.round, finding.institution) == (1, VICTIM)
    assert finding.expected == "0x" + federation.state().base_model.hex()
    assert "WRONG_MODEL" in (finding.found or "")


def test_a_coordinator_that_hands_out_two_proposals(make_federation):
    federation = make_federation()
    federation.run({VICTIM: liar(attest=handed_another_proposal)})
    finding = found(federation, "distribution")
    assert (finding.round, finding.institution) == (1, VICTIM)
    assert finding.expected == proposed(federation)


# An institution equivocates between what it committed and what it sent.


def equivocate(message: Message, context: Context) -> RecordDict:
    """Commit to one valid update and send another."""
    valid = forge(message, context).commit()
    values = {name: np.full(shape, 1e-4) for name, shape in valid.layout}
    return valid.resealed(plaintext=Codec(valid.study.norm_bound).encode(values)).reply()


def test_an_institution_that_sends_another_update_than_it_committed(make_federation):
    """The coordinator refuses it on chain; the audit opens both and finds the refusal right."""
    federation = make_federation()
    federation.run({VICTIM: liar(train=equivocate)})
    assert federation.refusals() == {VICTIM: Reason.HASH_MISMATCH}
    report = verify_run(federation.directory, rpc_url=federation.rpc_url)
    assert failures(report) == {}
    (refusals,) = [outcome for outcome in report.outcomes if outcome.step == "refusals"]
    assert refusals.detail.startswith("1 refused updates are refused again")


def complicit(reply, submission, member, expected, key):
    """A coordinator that takes what the victim sends, whatever was committed."""
    if member.id != VICTIM:
        return accepted_update(reply, submission, member, expected, key)
    plaintext = open_sealed(reply.sealed, expected.context, key).plaintext
    return Codec(expected.norm_bound).decode(plaintext, expected.layout)


def test_an_institution_that_equivocates_with_the_coordinators_help(make_federation, monkeypatch):
    federation = make_federation()
    monkeypatch.setattr(coordinator_module, "accepted_update", complicit)
    federation.run({VICTIM: liar(train=equivocate)})
    also = ("artifacts", "manifests", "refusals", "aggregation")
    finding = found(federation, "records", *also, phase=Phase.VOID)
    assert (finding.round, finding.institution) == (1, VICTIM)
    assert finding.what == "the record names another sealed update than the institution committed to"


def test_a_manifest_that_states_another_epsilon_than_was_committed(make_federation, monkeypatch):
    """Nobody's key is needed to find it."""

    def state_another(message: Message, context: Context) -> RecordDict:
        forged = forge(message, context).stating(epsilon=7)
        site_artifacts(context).put(forged.sealed)
        return forged.commit(epsilon=0).reply()

    federation = make_federation()
    monkeypatch.setattr(coordinator_module, "accepted_update", complicit)
    federation.run({VICTIM: liar(train=state_another)})
    finding = found(federation, "manifests", "aggregation")
    assert (finding.round, finding.institution) == (1, VICTIM)
    assert (finding.expected, finding.found) == ("0", "7")


def test_the_layers_rest_on_each_other(make_federation, monkeypatch):
    """A wrong sum is a matter of the computation alone: chain and artifacts are sound."""
    federation = make_federation()
    monkeypatch.setattr(coordinator_module, "weighted_sum", without_one)
    federation.run()
    report = verify_run(federation.directory, rpc_url=federation.rpc_url)
    verdicts = {layer: verdict for layer, (verdict, _) in report.layers().items()}
    assert verdicts == {
        Layer.CHAIN: Verdict.PASSED,
        Layer.ARTIFACTS: Verdict.PASSED,
        Layer.COMPUTATION: Verdict.FAILED,
    }
