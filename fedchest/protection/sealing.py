"""Sealing: an update encrypted once, its content key wrapped for each party that may open it.

The layout of the bytes is in docs/formats.md.
"""

import hashlib
import io
import os
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from fedchest.errors import ConfigError
from fedchest.protection.context import UpdateContext
from fedchest.protection.memory import prefer_huge_pages
from fedchest.refusals import Reason, Refused

SALT_BYTES = 32
MAX_RECIPIENTS = 255

_MAGIC = b"FCSEAL\x00\x01"
_KEY_BYTES = 32
_TAG_BYTES = 16
_ID_BYTES = 32
_WRAPPED_BYTES = 32 + _KEY_BYTES + SALT_BYTES + _TAG_BYTES  # X25519 share, content key, salt, tag
_SLOT_BYTES = _ID_BYTES + _WRAPPED_BYTES
_NONCE = bytes(12)  # a content key encrypts one message only, so its nonce need not vary
_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class Opened(NamedTuple):
    """What a seal held: the encoded update and the salt (32 bytes) of its plaintext hash."""

    plaintext: bytes
    salt: bytes


def seal(
    plaintext: bytes, context: UpdateContext, recipients: Sequence[X25519PublicKey], salt: bytes
) -> bytes:
    """Encrypt `plaintext` under a fresh key and wrap key and `salt` (32 bytes) for each of `recipients`.

    AES-256-GCM with the header as associated data; the wrap is HPKE (RFC 9180, base mode, X25519,
    HKDF-SHA256, AES-256-GCM) with `context.info()` as info. One byte changed anywhere and it does not open
    (tests/protection/test_sealing.py::test_every_changed_byte_is_noticed). Two seals of one update differ.
    Raises ConfigError for no recipient, more than 255, or a salt that is not 32 bytes.
    """
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise ConfigError(f"An update is sealed for 1 to {MAX_RECIPIENTS} recipients, not {len(recipients)}.")
    if len(salt) != SALT_BYTES:
        raise ConfigError(f"The salt of a sealed update has {SALT_BYTES} bytes, not {len(salt)}.")
    key, info = os.urandom(_KEY_BYTES), context.info()
    slots = (
        recipient_id(recipient) + _HPKE.encrypt(key + salt, recipient, info=info) for recipient in recipients
    )
    header = _MAGIC + bytes([len(recipients)]) + b"".join(slots)
    return _encrypt_behind(header, plaintext, key)


def open_sealed(sealed: bytes, context: UpdateContext, private_key: X25519PrivateKey) -> Opened:
    """Open `sealed` as one of its recipients.

    Raises Refused(SEAL_INVALID) for whatever is wrong with it: not of the form, changed, another context's,
    or not for this key. An opened seal proves neither its sender nor its content: AES-GCM is not
    key-committing, which is why the commitment binds the salted plaintext as well.
    """
    header_end = _header_end(sealed)
    try:
        secret = _HPKE.decrypt(
            _wrapped_for(sealed[:header_end], private_key), private_key, info=context.info()
        )
        key, salt = secret[:_KEY_BYTES], secret[_KEY_BYTES:]
        with memoryview(sealed) as view:
            plaintext = AESGCM(key).decrypt(_NONCE, view[header_end:], view[:header_end])
    except (InvalidTag, ValueError):
        raise Refused(Reason.SEAL_INVALID) from None
    return Opened(plaintext, salt)


def plaintext_hash(plaintext: bytes, salt: bytes) -> bytes:
    """SHA-256(salt || plaintext), 32 bytes: fixes what was submitted and, the salt unknown, hides it."""
    digest = hashlib.sha256(salt)
    digest.update(plaintext)
    return digest.digest()


def recipient_id(public_key: X25519PublicKey) -> bytes:
    """SHA-256 (32 bytes) of the raw public key: how a recipient finds its slot in the header."""
    return hashlib.sha256(public_key.public_bytes_raw()).digest()


def _encrypt_behind(header: bytes, plaintext: bytes, key: bytes) -> bytes:
    # Encrypting into the stream's own buffer spares a copy, which would cost more than the encryption.
    stream = io.BytesIO(bytes(len(header) + len(plaintext) + _TAG_BYTES))
    with stream.getbuffer() as buffer:
        prefer_huge_pages(buffer)
        buffer[: len(header)] = header
        AESGCM(key).encrypt_into(_NONCE, plaintext, header, buffer[len(header) :])
    return stream.getvalue()


def _header_end(sealed: bytes) -> int:
    count_at = len(_MAGIC)
    if sealed[:count_at] != _MAGIC or len(sealed) <= count_at:
        raise Refused(Reason.SEAL_INVALID)
    return count_at + 1 + sealed[count_at] * _SLOT_BYTES


def _wrapped_for(header: bytes, private_key: X25519PrivateKey) -> bytes:
    own = recipient_id(private_key.public_key())
    for start in range(len(_MAGIC) + 1, len(header), _SLOT_BYTES):
        if header[start : start + _ID_BYTES] == own:
            return header[start + _ID_BYTES : start + _SLOT_BYTES]
    raise Refused(Reason.SEAL_INVALID)
