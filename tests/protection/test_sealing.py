"""Seals: who can open them, where, and what happens to a changed one."""

import dataclasses
import hashlib
import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedchest.errors import ConfigError
from fedchest.protection.context import UpdateContext
from fedchest.protection.sealing import MAX_RECIPIENTS, open_sealed, plaintext_hash, seal
from fedchest.refusals import Reason, Refused

CONTEXT = UpdateContext(
    chain_id=31337,
    contract="0x5FbDB2315678afecb367f032d93F642f64180aa3",
    round=7,
    institution=3,
    base_model=hashlib.sha256(b"model").digest(),
)
OTHER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
COORDINATOR, AUDITOR, STRANGER = (X25519PrivateKey.generate() for _ in range(3))
RECIPIENTS = (COORDINATOR.public_key(), AUDITOR.public_key())
SALT = bytes(range(32))


def assert_does_not_open(sealed: bytes, context: UpdateContext, key: X25519PrivateKey) -> None:
    with pytest.raises(Refused) as caught:
        open_sealed(sealed, context, key)
    assert caught.value.reason is Reason.SEAL_INVALID


@given(st.binary(max_size=2000), st.binary(min_size=32, max_size=32))
def test_every_recipient_opens_the_same(plaintext: bytes, salt: bytes) -> None:
    sealed = seal(plaintext, CONTEXT, RECIPIENTS, salt)
    assert (
        open_sealed(sealed, CONTEXT, COORDINATOR)
        == open_sealed(sealed, CONTEXT, AUDITOR)
        == (plaintext, salt)
    )


def test_a_stranger_does_not_open() -> None:
    assert_does_not_open(seal(b"update", CONTEXT, RECIPIENTS, SALT), CONTEXT, STRANGER)


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": 1},
        {"contract": OTHER},
        {"round": 8},
        {"institution": 4},
        {"base_model": hashlib.sha256(b"another").digest()},
    ],
)
def test_seal_opens_in_its_own_context_only(change: dict[str, object]) -> None:
    sealed = seal(b"update", CONTEXT, RECIPIENTS, SALT)
    assert_does_not_open(sealed, dataclasses.replace(CONTEXT, **change), COORDINATOR)


def test_every_changed_byte_is_noticed() -> None:
    """Also a byte of the other recipient's slot, and the recipients' number."""
    sealed = seal(b"an update", CONTEXT, RECIPIENTS, SALT)
    for at in range(len(sealed)):
        for mask in (0x01, 0x80):
            assert_does_not_open(
                sealed[:at] + bytes([sealed[at] ^ mask]) + sealed[at + 1 :], CONTEXT, COORDINATOR
            )


def test_no_part_and_no_extension_opens() -> None:
    sealed = seal(b"an update", CONTEXT, RECIPIENTS, SALT)
    for end in range(len(sealed)):
        assert_does_not_open(sealed[:end], CONTEXT, COORDINATOR)
    assert_does_not_open(sealed + b"\0", CONTEXT, COORDINATOR)


@given(st.binary(max_size=400))
def test_noise_does_not_open(noise: bytes) -> None:
    assert_does_not_open(noise, CONTEXT, COORDINATOR)
    assert_does_not_open(b"FCSEAL\x00\x01" + noise, CONTEXT, COORDINATOR)


def test_two_seals_of_one_update_share_nothing() -> None:
    plaintext = bytes(4096)
    first, second = (seal(plaintext, CONTEXT, RECIPIENTS, SALT) for _ in range(2))
    equal = sum(a == b for a, b in zip(first[-4000:], second[-4000:], strict=True))
    assert equal < 60  # 4000 / 256 = 16 expected; above 60 in one run of 10^15


def test_size_is_the_plaintext_and_177_bytes_and_more_by_recipient() -> None:
    for count in (1, 2, 5):
        keys = [X25519PrivateKey.generate().public_key() for _ in range(count)]
        assert len(seal(bytes(1000), CONTEXT, keys, SALT)) == 1000 + 9 + 144 * count + 16


def test_most_recipients() -> None:
    keys = [COORDINATOR.public_key()] * MAX_RECIPIENTS
    assert open_sealed(seal(b"x", CONTEXT, keys, SALT), CONTEXT, COORDINATOR).plaintext == b"x"


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="recipients"):
        seal(b"", CONTEXT, (), SALT)
    with pytest.raises(ConfigError, match="recipients"):
        seal(b"", CONTEXT, [COORDINATOR.public_key()] * 256, SALT)
    with pytest.raises(ConfigError, match="salt"):
        seal(b"", CONTEXT, RECIPIENTS, b"short")


def test_plaintext_hash_is_sha256_of_salt_then_plaintext() -> None:
    plaintext = os.urandom(100)
    assert plaintext_hash(plaintext, SALT) == hashlib.sha256(SALT + plaintext).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": -1},
        {"round": 1 << 256},
        {"contract": OTHER.lower()},
        {"institution": 1 << 16},
        {"base_model": b""},
    ],
)
def test_a_malformed_context_is_named(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change)).replace("_", "[_ ]")):
        dataclasses.replace(CONTEXT, **change)
