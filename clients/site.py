"""One hospital's part of a round: check what was received, train, seal, commit, answer; later attest."""

import hashlib
import os
import time
from dataclasses import asdict
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from clients.outbox import Outbox, StoredSubmission
from fedchest.aggregation.model import parse_model
from fedchest.artifacts import ArtifactStore
from fedchest.federation.attestation import OwnUpdate, attest_to, opened_share
from fedchest.federation.directory import (
    CONNECTION,
    SITE,
    STUDY,
    WALLET,
    Connection,
    SiteDocument,
    read_document,
    read_study,
)
from fedchest.federation.messages import (
    AttestReply,
    ModelMessage,
    OpenedMessage,
    ProposalMessage,
    UpdateReply,
    VouchReply,
)
from fedchest.federation.party import open_ledger
from fedchest.federation.study import Study
from fedchest.federation.trainer import LocalTrainer
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.records import REQUIRED_CHECKS, Institution, RoundState, UpdateCommitment
from fedchest.ledger.wallet import Wallet
from fedchest.protection.codec import CODEC_NAME, Codec
from fedchest.protection.context import UpdateContext
from fedchest.protection.keys import decode_public_key
from fedchest.protection.manifest import Manifest
from fedchest.protection.sealing import plaintext_hash, seal
from fedchest.refusals import Reason, Refused


class Site:
    """The wiring of one hospital, opened from its own folder."""

    def __init__(
        self, document: SiteDocument, study: Study, ledger: Ledger, wallet: Wallet, folder: Path
    ) -> None:
        self._document = document
        self._study = study
        self._ledger = ledger
        self._wallet = wallet
        self._outbox = Outbox(folder / "outbox")
        self._artifacts = ArtifactStore(document.artifacts)
        self._trainer = LocalTrainer(document, study, folder)

    @classmethod
    def open(cls, folder: Path) -> "Site":
        """Open the hospital's folder and check the chain that it pins. Raises StoreError, KeyFileError, ChainError."""
        connection = read_document(folder / CONNECTION, Connection)
        wallet = Wallet.load(folder / WALLET)
        ledger = open_ledger(folder, connection)
        study = read_study(folder / STUDY)
        return cls(read_document(folder / SITE, SiteDocument), study, ledger, wallet, folder)

    def train(self, message: ModelMessage) -> UpdateReply:
        """Take part in a round: what was stored for it is sent again, never trained again.

        Raises Refused with the reason why this hospital does not take part; a FedChestError on a local fault.
        """
        state = self._ledger.round(message.round)
        self._require_pinned(state, message)
        self._require_open(state)
        submission = self._outbox.submission(message.round) or self._prepare(state, message)
        manifest = Manifest.from_bytes(submission.manifest)
        self._commit(state, submission, manifest)
        self._artifacts.put(submission.sealed)
        self._artifacts.put(submission.manifest)
        return UpdateReply(submission.sealed, submission.manifest, manifest.weight_class)

    def attest(self, message: ProposalMessage) -> AttestReply:
        """Recompute the proposal and vote on chain with what came out and with the own update's fingerprint.

        Raises Refused(ROUND_CLOSED) when there is nothing to attest.
        """
        state = self._ledger.round(message.round)
        if state.new_model == bytes(len(state.new_model)):
            raise Refused(Reason.ROUND_CLOSED)
        attestation, recomputed = attest_to(
            self._ledger, self._study, state, message, self._wallet.address, self._own_update(state)
        )
        if not self._ledger.has_attested(message.round, self._me().id):
            self._ledger.attest(message.round, attestation)
        agrees = attestation.checks == REQUIRED_CHECKS
        if agrees and recomputed is not None:
            self._trainer.evaluate_for_the_hospital(message.round, recomputed.model)
        return AttestReply(agrees)

    def vouch(self, message: OpenedMessage) -> VouchReply:
        """Answer on chain for a silent institution, with the share that its opened update gives.

        Raises Refused when it owes no answer, did not consent, or committed to another update.
        """
        state = self._ledger.round(message.round)
        share = opened_share(self._ledger, self._study, state, message)
        self._ledger.answer_for(state.number, message.institution, state.proposal, share)
        return VouchReply(share)

    def _own_update(self, state: RoundState) -> OwnUpdate | None:
        submission, encoded = self._outbox.submission(state.number), self._outbox.update(state.base_model)
        if submission is None or encoded is None:
            return None
        return OwnUpdate(hashlib.sha256(submission.sealed).digest(), encoded)

    def _require_pinned(self, state: RoundState, message: ModelMessage) -> None:
        received = hashlib.sha256(message.model).digest()
        if state.config != self._study.digest() or received != state.base_model:
            raise Refused(Reason.WRONG_MODEL)

    def _require_open(self, state: RoundState) -> None:
        """No epsilon is spent on a round that could not take the update."""
        member = self._me().id in self._ledger.members(state.number)
        if not state.phase.takes_updates or time.time() > state.deadline or not member:
            raise Refused(Reason.ROUND_CLOSED)

    def _prepare(self, state: RoundState, message: ModelMessage) -> StoredSubmission:
        me = self._me()
        encoded = self._outbox.update(state.base_model)
        if encoded is None:
            update = self._trainer.update(
                parse_model(message.model), state.number, self._ledger.finalized_before(state.number), me
            )
            encoded = Codec(self._study.norm_bound).encode(update)
            self._outbox.store_update(state.base_model, encoded)
        submission = self._seal(state, encoded, me)
        self._outbox.store_submission(state.number, submission)
        return submission

    def _seal(self, state: RoundState, encoded: bytes, me: Institution) -> StoredSubmission:
        salt = os.urandom(32)
        dp = self._study.dp_constants(me.weight_class)
        sealed = seal(encoded, self._context(state, me), self._recipients(), salt)
        manifest = Manifest(
            study=self._study.digest().hex(),
            round=state.number,
            institution=me.id,
            base_model=state.base_model.hex(),
            weight_class=me.weight_class,
            epsilon=self._trainer.epsilon_spent(me),
            norm_bound=self._study.norm_bound,
            codec=CODEC_NAME,
            dp=None if dp is None else asdict(dp),
            sealed=hashlib.sha256(sealed).hexdigest(),
            may_be_opened=self._document.open_if_silent,
        )
        return StoredSubmission(sealed, manifest.to_bytes(), salt)

    def _commit(self, state: RoundState, submission: StoredSubmission, manifest: Manifest) -> None:
        """Commit on chain, unless this very submission stands there already from before a restart."""
        committed = self._ledger.submission(state.number, self._me().id)
        encoded = self._outbox.update(state.base_model)
        sealed_hash = hashlib.sha256(submission.sealed).digest()
        if committed is not None and committed.sealed_hash == sealed_hash:
            return
        if committed is not None or encoded is None:
            raise Refused(Reason.SITE_FAULT)
        self._ledger.submit_update(
            UpdateCommitment(
                state.number,
                manifest.institution,
                state.base_model,
                sealed_hash=sealed_hash,
                plaintext_hash=plaintext_hash(encoded, submission.salt),
                manifest_hash=manifest.digest(),
                weight_class=manifest.weight_class,
                epsilon=manifest.epsilon,
            )
        )

    def _me(self) -> Institution:
        return self._ledger.institution(self._ledger.institution_id(self._wallet.address))

    def _context(self, state: RoundState, me: Institution) -> UpdateContext:
        return UpdateContext(
            chain_id=self._ledger.chain_id,
            contract=self._ledger.address,
            round=state.number,
            institution=me.id,
            base_model=state.base_model,
        )

    def _recipients(self) -> list[X25519PublicKey]:
        return [decode_public_key(key) for key in (self._study.coordinator_key, self._study.auditor_key)]
