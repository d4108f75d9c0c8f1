"""Every attack on a received update, built with all its other parts valid, and the reason that refuses it."""

import dataclasses
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedchest.aggregation.check import Expectation, check_update
from fedchest.protection.codec import Codec, layout_of
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext
from fedchest.protection.manifest import Manifest
from fedchest.protection.sealing import plaintext_hash, seal
from fedchest.refusals import Reason, Refused

COORDINATOR, AUDITOR = X25519PrivateKey.generate(), X25519PrivateKey.generate()
OTHER_INSTITUTION = 4
OTHER_CONTRACT = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BUDGET = 8_000_000
UPDATE = {"w": np.linspace(-0.1, 0.1, 12, dtype=np.float32).reshape(3, 4), "b": np.zeros(2, np.float32)}
CONTEXT = UpdateContext(
    chain_id=31337,
    contract="0x5FbDB2315678afecb367f032d93F642f64180aa3",
    round=7,
    institution=3,
    base_model=hashlib.sha256(b"model").digest(),
)
EXPECTATION = Expectation(
    context=CONTEXT,
    study=hashlib.sha256(b"study").digest(),
    weight_class=8,
    epsilon_budget=BUDGET,
    norm_bound=1.0,
    layout=layout_of(UPDATE),
    dp={"noise_multiplier": 1.1, "sampling_rate": 0.05, "steps": 20, "delta": 1e-5},
)
ENCODED = Codec(1.0).encode(UPDATE)


@dataclass(frozen=True)
class OnChain:
    """What a wallet has written on chain; the contract computes `commitment` itself."""

    commitment: bytes
    sealed_hash: bytes
    plaintext_hash: bytes
    manifest_hash: bytes
    weight_class: int
    epsilon: int


@dataclass(frozen=True)
class Sent:
    """A reply and the submission that goes with it."""

    sealed: bytes
    manifest: bytes
    submission: OnChain

    def check(self, key: X25519PrivateKey = COORDINATOR) -> np.ndarray:
        return check_update(self.sealed, self.manifest, self.submission, EXPECTATION, key).values


def send(
    encoded: bytes = ENCODED,
    *,
    context: UpdateContext = CONTEXT,
    sealed_context: UpdateContext | None = None,
    committed_plaintext: bytes | None = None,
    edit: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    manifest_bytes: bytes | None = None,
    weight_class: int = 8,
    epsilon: int = 1_000_000,
) -> Sent:
    """What an institution sends and commits to that does everything right but for what is given."""
    salt = hashlib.sha256(b"salt").digest()
    recipients = (COORDINATOR.public_key(), AUDITOR.public_key())
    sealed = seal(encoded, sealed_context or context, recipients, salt)
    sealed_hash = hashlib.sha256(sealed).digest()
    expectation = dataclasses.replace(EXPECTATION, context=context, weight_class=weight_class)
    manifest = manifest_bytes or edit(expectation.manifest(sealed_hash, epsilon)).to_bytes()
    plaintext = plaintext_hash(encoded if committed_plaintext is None else committed_plaintext, salt)
    return Sent(sealed, manifest, commit(context, sealed_hash, plaintext, manifest, weight_class, epsilon))


def commit(
    context: UpdateContext,
    sealed_hash: bytes,
    plaintext: bytes,
    manifest: bytes,
    weight_class: int,
    epsilon: int,
) -> OnChain:
    manifest_hash = hashlib.sha256(manifest).digest()
    committed = commitment(context, sealed_hash, plaintext, manifest_hash, weight_class, epsilon)
    return OnChain(committed, sealed_hash, plaintext, manifest_hash, weight_class, epsilon)


def with_integers(values: list[int]) -> bytes:
    return ENCODED[: -4 * len(values)] + struct.pack(f"<{len(values)}i", *values)


def assert_refused(sent: Sent, reason: Reason) -> None:
    for key in (COORDINATOR, AUDITOR):
        with pytest.raises(Refused) as caught:
            sent.check(key)
        assert caught.value.reason is reason


def test_an_honest_update_is_accepted_by_both_recipients() -> None:
    sent = send()
    expected = np.rint(np.concatenate([UPDATE["b"], UPDATE["w"].ravel()]).astype(np.float64) * 2**24)
    for key in (COORDINATOR, AUDITOR):
        assert sent.check(key).tolist() == expected.tolist()


@pytest.mark.parametrize("at", [0, 8, 100, 300, -1])
def test_one_flipped_bit(at: int) -> None:
    sent = send()
    flipped = bytearray(sent.sealed)
    flipped[at] ^= 1
    assert_refused(dataclasses.replace(sent, sealed=bytes(flipped)), Reason.HASH_MISMATCH)


def test_other_bytes_than_committed() -> None:
    assert_refused(dataclasses.replace(send(), sealed=send().sealed), Reason.HASH_MISMATCH)


def test_committed_by_another_wallet() -> None:
    """A copier commits to the same hashes in its own name: its commitment is not this institution's."""
    theirs = dataclasses.replace(CONTEXT, institution=OTHER_INSTITUTION)
    sent = send()
    copied = dataclasses.replace(sent.submission, commitment=send(context=theirs).submission.commitment)
    assert_refused(dataclasses.replace(sent, submission=copied), Reason.HASH_MISMATCH)


@pytest.mark.parametrize(
    "change",
    [
        {"round": 6},
        {"chain_id": 1},
        {"contract": OTHER_CONTRACT},
        {"institution": OTHER_INSTITUTION},
        {"base_model": hashlib.sha256(b"last round's").digest()},
    ],
)
def test_submission_of_another_place(change: dict[str, object]) -> None:
    assert_refused(send(context=dataclasses.replace(CONTEXT, **change)), Reason.HASH_MISMATCH)


@pytest.mark.parametrize(
    "change", [{"round": 6}, {"base_model": bytes(32)}, {"institution": OTHER_INSTITUTION}]
)
def test_replayed_seal_under_a_fresh_commitment(change: dict[str, object]) -> None:
    """Another round's or institution's sealed bytes, committed and described properly for this one."""
    assert_refused(send(sealed_context=dataclasses.replace(CONTEXT, **change)), Reason.SEAL_INVALID)


def test_committed_bytes_that_are_no_seal() -> None:
    sent = send()
    noise = bytes(len(sent.sealed))
    digest = hashlib.sha256(noise).digest()
    manifest = EXPECTATION.manifest(digest, 1_000_000).to_bytes()
    submission = commit(CONTEXT, digest, sent.submission.plaintext_hash, manifest, 8, 1_000_000)
    assert_refused(Sent(noise, manifest, submission), Reason.SEAL_INVALID)


def test_sealed_for_others_only() -> None:
    stranger = X25519PrivateKey.generate()
    with pytest.raises(Refused) as caught:
        send().check(stranger)
    assert caught.value.reason is Reason.SEAL_INVALID


def test_manifest_that_was_not_committed() -> None:
    sent = send()
    other = EXPECTATION.manifest(sent.submission.sealed_hash, 999).to_bytes()
    assert_refused(dataclasses.replace(sent, manifest=other), Reason.MANIFEST_MISMATCH)
    on_chain = sent.submission
    committed = commit(CONTEXT, on_chain.sealed_hash, on_chain.plaintext_hash, other, 8, 1_000_000)
    assert_refused(dataclasses.replace(sent, submission=committed), Reason.MANIFEST_MISMATCH)


@pytest.mark.parametrize("content", [b"{}", b"\xff\xfe", send().manifest + b" "])
def test_committed_manifest_that_is_none(content: bytes) -> None:
    assert_refused(send(manifest_bytes=content), Reason.MALFORMED)


@pytest.mark.parametrize(
    "change",
    [
        {"study": "00" * 32},
        {"round": 8},
        {"institution": OTHER_INSTITUTION},
        {"base_model": "00" * 32},
        {"epsilon": 999_999},
        {"norm_bound": 2.0},
        {"codec": "another"},
        {"dp": None},
        {"dp": {"noise_multiplier": 0.0, "sampling_rate": 0.05, "steps": 20, "delta": 1e-5}},
        {"sealed": "00" * 32},
    ],
)
def test_manifest_that_contradicts(change: dict[str, object]) -> None:
    sent = send(edit=lambda manifest: dataclasses.replace(manifest, **change))
    assert_refused(sent, Reason.MANIFEST_MISMATCH)


@pytest.mark.parametrize("claimed", [0, 7, 9, 10**12])
def test_claimed_weight(claimed: int) -> None:
    sent = send(edit=lambda manifest: dataclasses.replace(manifest, weight_class=claimed))
    assert_refused(sent, Reason.WEIGHT_MISMATCH)


def test_committed_weight() -> None:
    assert_refused(send(weight_class=0xFFFF), Reason.WEIGHT_MISMATCH)
    hidden = send(weight_class=0xFFFF, edit=lambda manifest: dataclasses.replace(manifest, weight_class=8))
    assert_refused(hidden, Reason.WEIGHT_MISMATCH)


def test_spend_above_the_budget() -> None:
    assert_refused(send(epsilon=BUDGET + 1), Reason.OVER_BUDGET)
    assert send(epsilon=BUDGET).check().size == 14
    for on_chain, stated in ((1_000_000, BUDGET + 1), (BUDGET + 1, 1_000_000)):
        sent = send(
            epsilon=on_chain,
            edit=lambda manifest, stated=stated: dataclasses.replace(manifest, epsilon=stated),
        )
        assert_refused(sent, Reason.OVER_BUDGET)


def test_another_plaintext_than_committed() -> None:
    other = Codec(1.0).encode({name: -tensor for name, tensor in UPDATE.items()})
    assert_refused(send(committed_plaintext=other), Reason.PLAINTEXT_MISMATCH)


def test_a_slot_of_another_seal() -> None:
    """The header is authenticated: nobody can swap the other recipient's wrapped key unnoticed."""
    first, second = send(), send()
    slot = slice(9 + 144, 9 + 288)  # the auditor's
    spliced = first.sealed[: slot.start] + second.sealed[slot] + first.sealed[slot.stop :]
    digest = hashlib.sha256(spliced).digest()
    manifest = EXPECTATION.manifest(digest, 1_000_000).to_bytes()
    submission = commit(CONTEXT, digest, first.submission.plaintext_hash, manifest, 8, 1_000_000)
    assert_refused(Sent(spliced, manifest, submission), Reason.SEAL_INVALID)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        ENCODED[:-4],
        ENCODED + bytes(4),
        Codec(2.0).encode(UPDATE),
        Codec(1.0).encode({"w": UPDATE["w"]}),
        Codec(1.0).encode({"w": UPDATE["w"].T, "b": UPDATE["b"]}),
        Codec(1.0).encode({"W": UPDATE["w"], "b": UPDATE["b"]}),
    ],
)
def test_update_of_another_form(encoded: bytes) -> None:
    assert_refused(send(encoded), Reason.MALFORMED)


def test_nan_inside() -> None:
    assert_refused(send(with_integers([0] * 13 + [-(2**31)])), Reason.NOT_FINITE)


@pytest.mark.parametrize("values", [[2**24, 1], [2**31 - 1] * 14, [2**24] * 14, [-(2**31) + 1, 0]])
def test_norm_above_the_bound(values: list[int]) -> None:
    assert_refused(send(with_integers(values + [0] * (14 - len(values)))), Reason.NORM_EXCEEDED)


def test_norm_at_the_bound_is_accepted() -> None:
    assert send(with_integers([2**24] + [0] * 13)).check()[0] == 2**24
