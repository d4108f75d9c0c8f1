"""The checks on a received update, in one order, on bytes and integers: the server's and the audit's."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedchest.protection.codec import CODEC_NAME, Codec, EncodedUpdate, Layout
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext
from fedchest.protection.manifest import Manifest
from fedchest.protection.sealing import open_sealed, plaintext_hash
from fedchest.refusals import Reason, Refused


class Submission(Protocol):
    """What the chain holds of an update: hashes of 32 bytes, a uint16 weight, epsilon in micro-units."""

    @property
    def commitment(self) -> bytes: ...
    @property
    def sealed_hash(self) -> bytes: ...
    @property
    def plaintext_hash(self) -> bytes: ...
    @property
    def manifest_hash(self) -> bytes: ...
    @property
    def weight_class(self) -> int: ...
    @property
    def epsilon(self) -> int: ...


@dataclass(frozen=True)
class Expectation:
    """What the study, the round and the institution's registration say an update must be.

    study: hash of the study's rules (32 bytes).  weight_class: as registered.  epsilon_budget: micro-units.
    norm_bound: L2.  layout: of the base model.  dp: the study's DP constants by name, None without DP.
    """

    context: UpdateContext
    study: bytes
    weight_class: int
    epsilon_budget: int
    norm_bound: float
    layout: Layout
    dp: Mapping[str, float | int] | None

    def manifest(self, sealed_hash: bytes, epsilon: int, *, may_be_opened: bool = False) -> Manifest:
        """The one manifest that an update with these sealed bytes, this spend and this consent may have."""
        return Manifest(
            study=self.study.hex(),
            round=self.context.round,
            institution=self.context.institution,
            base_model=self.context.base_model.hex(),
            weight_class=self.weight_class,
            epsilon=epsilon,
            norm_bound=self.norm_bound,
            codec=CODEC_NAME,
            dp=self.dp,
            sealed=sealed_hash.hex(),
            may_be_opened=may_be_opened,
        )


def check_update(
    sealed: bytes,
    manifest: bytes,
    submission: Submission,
    expectation: Expectation,
    private_key: X25519PrivateKey,
) -> EncodedUpdate:
    """The update in `sealed`, which an institution submitted with `manifest`; opened with a recipient's key.

    Raises Refused with the first reason that applies, in the order of the lines below; each has its test in
    tests/aggregation/test_check.py.
    """
    _check_commitment(sealed, manifest, submission, expectation)
    _check_manifest(Manifest.from_bytes(manifest), submission, expectation)
    opened = open_sealed(sealed, expectation.context, private_key)
    if not hmac.compare_digest(plaintext_hash(opened.plaintext, opened.salt), submission.plaintext_hash):
        raise Refused(Reason.PLAINTEXT_MISMATCH)
    return Codec(expectation.norm_bound).decode(opened.plaintext, expectation.layout)


def _check_commitment(
    sealed: bytes, manifest: bytes, submission: Submission, expectation: Expectation
) -> None:
    if not hmac.compare_digest(hashlib.sha256(sealed).digest(), submission.sealed_hash):
        raise Refused(Reason.HASH_MISMATCH)
    committed = commitment(
        expectation.context,
        submission.sealed_hash,
        submission.plaintext_hash,
        submission.manifest_hash,
        submission.weight_class,
        submission.epsilon,
    )
    if not hmac.compare_digest(committed, submission.commitment):
        raise Refused(Reason.HASH_MISMATCH)
    if not hmac.compare_digest(hashlib.sha256(manifest).digest(), submission.manifest_hash):
        raise Refused(Reason.MANIFEST_MISMATCH)


def _check_manifest(manifest: Manifest, submission: Submission, expectation: Expectation) -> None:
    if not manifest.weight_class == submission.weight_class == expectation.weight_class:
        raise Refused(Reason.WEIGHT_MISMATCH)
    if max(manifest.epsilon, submission.epsilon) > expectation.epsilon_budget:
        raise Refused(Reason.OVER_BUDGET)
    consent = manifest.may_be_opened
    if manifest != expectation.manifest(submission.sealed_hash, submission.epsilon, may_be_opened=consent):
        raise Refused(Reason.MANIFEST_MISMATCH)
