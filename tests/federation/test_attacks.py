"""Whatever a hospital, a stranger or the server tries: refused, recorded with its reason, and the round goes on."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from small_federation import (
    Answer,
    Forgery,
    SmallFederation,
    changing_record,
    changing_reply,
    forge,
    liar,
)

from fedchest.federation.apps import client_app
from fedchest.federation.directory import CONNECTION, SITE, WALLET, Connection, SiteDocument, read_document
from fedchest.federation.engines.in_process import InProcessGrid
from fedchest.federation.messages import IdentifyReply, UpdateReply
from fedchest.files import write_atomically
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.records import Phase, VoidCause
from fedchest.ledger.wallet import Wallet
from fedchest.refusals import Reason

pytestmark = pytest.mark.e2e

LIAR = 2
HONEST = (0, 1, 3)


def assert_refused(federation: SmallFederation, reason: Reason, round_number: int = 1) -> None:
    """The liar alone is refused, for `reason`, and the others' updates make the round's model."""
    assert federation.refusals(round_number) == {LIAR: reason}
    assert federation.state(round_number).phase is Phase.FINALIZED
    assert federation.ledger.accepted(round_number) == HONEST


def forging(change: Callable[[Forgery], Forgery]) -> ClientApp:
    """An app that sends what `change` makes of a valid submission."""

    def train(message: Message, context: Context) -> RecordDict:
        return change(forge(message, context)).reply()

    return liar(train=train)


# The baseline: what all the forgeries below are variations of is itself accepted.


def test_an_unchanged_forgery_is_accepted(make_federation):
    federation = make_federation()
    federation.run({LIAR: forging(lambda valid: valid.commit())})
    assert federation.refusals() == {}
    assert federation.ledger.accepted(1) == (0, 1, 2, 3)


# What arrives is not what was committed.


def test_one_flipped_bit(make_federation):
    def flip(reply: UpdateReply) -> UpdateReply:
        changed = bytearray(reply.sealed)
        changed[len(changed) // 2] ^= 1
        return UpdateReply(bytes(changed), reply.manifest, reply.num_examples)

    federation = make_federation()
    federation.run({LIAR: changing_reply(flip)})
    assert_refused(federation, Reason.HASH_MISMATCH)


def test_not_committed(make_federation):
    federation = make_federation()
    federation.run({LIAR: forging(lambda valid: valid)})
    assert_refused(federation, Reason.NOT_COMMITTED)


def test_another_plaintext_than_committed(make_federation):
    federation = make_federation()
    federation.run({LIAR: forging(lambda valid: valid.commit(plaintext_hash=bytes(31) + b"\1"))})
    assert_refused(federation, Reason.PLAINTEXT_MISMATCH)


def test_another_manifest_than_committed(make_federation):
    federation = make_federation()
    federation.run({LIAR: forging(lambda valid: valid.commit().stating(epsilon=1))})
    assert_refused(federation, Reason.MANIFEST_MISMATCH)


# Committed by somebody else.


def test_committed_by_an_unregistered_wallet(make_federation, tmp_path):
    stranger = Wallet.create(tmp_path / "stranger.key")

    def commit_as_stranger(valid: Forgery) -> Forgery:
        ledger = LedgerClient(federation.rpc_url, federation.ledger.address, wallet=stranger)
        with pytest.raises(LedgerRefusal, match="UnknownInstitution"):
            replace(valid, ledger=ledger).commit()
        return valid

    federation = make_federation()
    federation.run({LIAR: forging(commit_as_stranger)})
    assert_refused(federation, Reason.NOT_COMMITTED)


def test_a_colleagues_committed_update_in_the_own_name(make_federation):
    colleague = Colleague()
    federation = make_federation()
    federation.run({0: colleague.app, LIAR: liar(train=lambda message, context: colleague.sent)})
    assert_refused(federation, Reason.NOT_COMMITTED)


def test_a_colleagues_sealed_update_committed_again(make_federation):
    colleague = Colleague()

    def commit_copy(valid: Forgery) -> Forgery:
        sealed = UpdateReply.from_record(colleague.sent).sealed
        return valid.carrying(sealed).commit()

    federation = make_federation()
    federation.run({0: colleague.app, LIAR: forging(commit_copy)})
    assert_refused(federation, Reason.SEAL_INVALID)


class Colleague:
    """An honest institution whose reply somebody listens to; sealed bytes are public, so this is no feat."""

    def __init__(self) -> None:
        self.app = liar(train=self._train)
        self.sent = RecordDict()

    def _train(self, message: Message, context: Context) -> RecordDict:
        self.sent = client_app()(message, context).content
        return self.sent


# For another round.


def test_sealed_for_another_round(make_federation):
    federation = make_federation()
    federation.run({LIAR: forging(lambda valid: valid.resealed(round=2).commit())})
    assert_refused(federation, Reason.SEAL_INVALID)


def test_stated_for_another_round(make_federation):
    federation = make_federation()
    federation.run({LIAR: forging(lambda valid: valid.resealed(round=2).stating(round=2).commit())})
    assert_refused(federation, Reason.MANIFEST_MISMATCH)


def test_committed_for_another_round(make_federation):
    def commit_ahead(valid: Forgery) -> Forgery:
        with pytest.raises(LedgerRefusal, match="WrongPhase"):
            valid.commit(round=2)
        return valid

    federation = make_federation()
    federation.run({LIAR: forging(commit_ahead)})
    assert_refused(federation, Reason.NOT_COMMITTED)


@pytest.mark.parametrize(
    ("replay", "reason"),
    [
        pytest.param(lambda old, new: old, Reason.NOT_COMMITTED, id="sent again"),
        pytest.param(
            lambda old, new: old.commit(round=2, base_model=new.context.base_model),
            Reason.MANIFEST_MISMATCH,
            id="committed again",
        ),
        pytest.param(
            lambda old, new: new.carrying(old.sealed).commit(),
            Reason.SEAL_INVALID,
            id="stated and committed again",
        ),
    ],
)
def test_replay_of_the_last_rounds_update(make_federation, replay, reason):
    made: list[Forgery] = []

    def train(message: Message, context: Context) -> RecordDict:
        made.append(forge(message, context))
        if len(made) == 1:
            return made[0].commit().reply()
        return replay(*made).reply()

    federation = make_federation(training={"rounds": 2})
    federation.run({LIAR: liar(train=train)})
    assert federation.refusals(1) == {}
    assert_refused(federation, reason, round_number=2)


# What is inside.


def with_values(change: Callable[[np.ndarray], None]) -> Callable[[Forgery], Forgery]:
    """Seal and commit an update whose integers `change` has set; they lie at the end of the plaintext."""

    def forge_values(valid: Forgery) -> Forgery:
        size = sum(int(np.prod(shape)) for _, shape in valid.layout)
        values = np.zeros(size, "<i4")
        change(values)
        return valid.resealed(plaintext=valid.plaintext[: -4 * size] + values.tobytes()).commit()

    return forge_values


def test_nan_inside(make_federation):
    def poison(values: np.ndarray) -> None:
        values[7] = np.iinfo(np.int32).min

    federation = make_federation()
    federation.run({LIAR: forging(with_values(poison))})
    assert_refused(federation, Reason.NOT_FINITE)


def test_norm_above_the_bound(make_federation):
    def inflate(values: np.ndarray) -> None:
        values[:] = 1 << 20

    federation = make_federation()
    federation.run({LIAR: forging(with_values(inflate))})
    assert_refused(federation, Reason.NORM_EXCEEDED)


def test_update_of_another_length(make_federation):
    federation = make_federation()
    federation.run({LIAR: forging(lambda valid: valid.resealed(plaintext=valid.plaintext + b"\0").commit())})
    assert_refused(federation, Reason.MALFORMED)


def test_training_that_diverges_is_reported(make_federation):
    federation = make_federation(training={"steps": 3, "optimizer": "sgd", "learning_rate": 1e30})
    federation.run()
    assert federation.refusals() == dict.fromkeys(range(4), Reason.NOT_FINITE)
    assert federation.void_cause() is VoidCause.ABANDONED


# Claims about weight and epsilon.


@pytest.mark.parametrize("claimed", [10**12, -1])
def test_another_number_of_examples(make_federation, claimed):
    def claim(reply: UpdateReply) -> UpdateReply:
        return UpdateReply(reply.sealed, reply.manifest, claimed)

    federation = make_federation()
    federation.run({LIAR: changing_reply(claim)})
    assert_refused(federation, Reason.WEIGHT_MISMATCH)


def test_a_heavier_weight_class_is_not_committed(make_federation):
    def commit_heavier(valid: Forgery) -> Forgery:
        with pytest.raises(LedgerRefusal, match="WrongWeightClass"):
            valid.commit(weight_class=0xFFFF)
        return valid

    federation = make_federation()
    federation.run({LIAR: forging(commit_heavier)})
    assert_refused(federation, Reason.NOT_COMMITTED)


def test_a_heavier_weight_class_in_the_manifest(make_federation):
    def state_heavier(valid: Forgery) -> Forgery:
        registered = valid.manifest.weight_class
        return valid.stating(weight_class=10**12).commit(weight_class=registered)

    def train(message: Message, context: Context) -> RecordDict:
        forged = state_heavier(valid := forge(message, context))
        return UpdateReply(forged.sealed, forged.manifest.to_bytes(), valid.manifest.weight_class).to_record()

    federation = make_federation()
    federation.run({LIAR: liar(train=train)})
    assert_refused(federation, Reason.WEIGHT_MISMATCH)


def test_spend_above_the_budget(make_federation):
    def overspend(valid: Forgery) -> Forgery:
        over = valid.stating(epsilon=federation.ledger.institution(LIAR).epsilon_budget + 1)
        with pytest.raises(LedgerRefusal, match="OverBudget"):
            over.commit()
        return over

    federation = make_federation()
    federation.run({LIAR: forging(overspend)})
    assert_refused(federation, Reason.OVER_BUDGET)


@pytest.mark.parametrize("fact", [{"norm_bound": 1e6}, {"institution": "0x" + "00" * 20}], ids=str)
def test_a_committed_manifest_that_states_another_fact(make_federation, fact):
    federation = make_federation()
    federation.run({LIAR: forging(lambda valid: valid.stating(**fact).commit())})
    assert_refused(federation, Reason.MANIFEST_MISMATCH)


# Replies of the wrong form; test_messages.py has the whole list.


def test_malformed_replies(make_federation):
    """Two of seven at once, which the quorum of five bears."""
    federation = make_federation(partition={"institutions": 7})
    missing = changing_record(lambda record: RecordDict())
    second = changing_record(lambda record: RecordDict({**record, "more": ArrayRecord([np.zeros(1)])}))
    federation.run({2: missing, 5: second})
    assert federation.refusals() == {2: Reason.MALFORMED, 5: Reason.MALFORMED}
    assert federation.ledger.accepted(1) == (0, 1, 3, 4, 6)
    assert federation.state().phase is Phase.FINALIZED


@pytest.mark.parametrize("part", ["sealed", "manifest"])
def test_oversized_reply_is_refused_and_not_stored(make_federation, part):
    def inflate(reply: UpdateReply) -> UpdateReply:
        parts = {"sealed": reply.sealed, "manifest": reply.manifest} | {part: bytes(20_000_000)}
        return UpdateReply(**parts, num_examples=reply.num_examples)

    federation = make_federation()
    federation.run({LIAR: changing_reply(inflate)})
    assert_refused(federation, Reason.MALFORMED)
    assert (
        max(path.stat().st_size for path in federation.directory.artifacts.directory.iterdir()) < 10_000_000
    )


def test_nested_manifest(make_federation):
    def nest(reply: UpdateReply) -> UpdateReply:
        return UpdateReply(reply.sealed, b"[" * 4000, reply.num_examples)

    federation = make_federation()
    federation.run({LIAR: changing_reply(nest)})
    assert_refused(federation, Reason.MANIFEST_MISMATCH)


def test_a_client_that_crashes_outside_its_own_guard(make_federation):
    def crash(message: Message, context: Context) -> RecordDict:
        raise RuntimeError("patient00017 is ill")

    federation = make_federation()
    federation.run({LIAR: liar(train=crash)})
    assert_refused(federation, Reason.NO_REPLY)


@pytest.mark.parametrize("log", ["written", "unwritable"])
def test_a_local_fault_is_reported_by_its_code_alone(make_federation, log):
    federation = make_federation()
    folder = federation.directory.institution(LIAR)
    if log == "unwritable":
        (folder / "site.log").mkdir()
    document = read_document(folder / SITE, SiteDocument)
    lost = document.model_copy(update={"data": Path("/hospital/archive/ward-7")})
    write_atomically(folder / SITE, lost.model_dump_json().encode(), mode=0o600)
    spy = Colleague()
    federation.run({LIAR: spy.app})
    assert_refused(federation, Reason.SITE_FAULT)
    assert spy.sent == RecordDict({"refusal": ConfigRecord({"reason": int(Reason.SITE_FAULT)})})
    assert log == "unwritable" or "ward-7" in (folder / "site.log").read_text()


def test_duplicate_replies(make_federation, monkeypatch):
    honest = InProcessGrid.send_and_receive

    def twice(self: Grid, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        replies = list(honest(self, messages, timeout=timeout))
        second = [reply for reply in replies if reply.metadata.src_node_id == LIAR + 1]
        return [*replies, *second]

    federation = make_federation()
    monkeypatch.setattr(InProcessGrid, "send_and_receive", twice)
    federation.run()
    assert_refused(federation, Reason.DUPLICATE)


# Who is asked at all.


@pytest.fixture
def impatient(monkeypatch):
    """Don't wait a minute for the nodes that will never prove themselves."""
    monkeypatch.setattr("server.roster.JOIN_SECONDS", 0.0)


def asked(counter: list[int]) -> Answer:
    def train(message: Message, context: Context) -> RecordDict:
        counter.append(message.metadata.dst_node_id)
        return client_app()(message, context).content

    return train


def test_a_node_with_an_unregistered_wallet_is_never_asked(make_federation, impatient):
    federation = make_federation()
    key = federation.directory.institution(LIAR) / WALLET
    key.unlink()
    Wallet.create(key)
    received: list[int] = []
    federation.run({LIAR: liar(train=asked(received))})
    assert received == []
    assert_refused(federation, Reason.NO_REPLY)


@pytest.mark.parametrize("signature", [b"", b"\xff" * 65], ids=["empty", "no point"])
def test_a_node_with_a_worthless_signature_is_never_asked(make_federation, impatient, signature):
    received: list[int] = []
    federation = make_federation()
    claim = liar(train=asked(received), identify=lambda m, c: IdentifyReply(signature).to_record())
    federation.run({LIAR: claim})
    assert received == []
    assert_refused(federation, Reason.NO_REPLY)


def test_a_node_that_claims_to_be_another_institution(make_federation, impatient):
    """It signs as institution 0 would have signed another study's nonce, so that it proves nothing."""
    federation = make_federation()
    victim = Wallet.load(federation.directory.institution(0) / WALLET)
    overheard = IdentifyReply(victim.sign_message(federation.study.digest() + bytes(32))).to_record()
    received: list[int] = []
    federation.run({LIAR: liar(train=asked(received), identify=lambda message, context: overheard)})
    assert received == []
    assert_refused(federation, Reason.NO_REPLY)


def test_two_nodes_of_one_institution(make_federation, impatient):
    """A second node with the same wallet is not asked, so that no institution is heard twice."""
    federation = make_federation()
    twin = federation.directory.institution(LIAR) / WALLET
    write_atomically(twin, (federation.directory.institution(0) / WALLET).read_bytes(), mode=0o600)
    received: list[int] = []
    federation.run({LIAR: liar(train=asked(received))})
    assert received == []
    assert_refused(federation, Reason.NO_REPLY)


def test_connection_to_another_contract_is_a_fault(make_federation, impatient):
    """A hospital whose folder pins another address does not train for the one that the server runs."""
    federation = make_federation()
    folder = federation.directory.institution(LIAR)
    pinned = read_document(folder / CONNECTION, Connection)
    other = pinned.model_copy(update={"contract": federation.ledger.coordinators()[0]})
    write_atomically(folder / CONNECTION, other.model_dump_json().encode(), mode=0o600)
    federation.run()
    assert federation.refusals() in ({LIAR: Reason.NO_REPLY}, {LIAR: Reason.SITE_FAULT})
    assert federation.state().phase is Phase.FINALIZED
