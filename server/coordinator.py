"""The coordinator's part of a round: open it, check what arrives, aggregate, propose, settle."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from flwr.app import ArrayRecord

from fedchest.aggregation.fedavg import weighted_sum
from fedchest.aggregation.model import model_bytes, parse_model
from fedchest.aggregation.record import RecordContribution, RecordEntry, RoundRecord
from fedchest.aggregation.sums import sum_bytes
from fedchest.artifacts import ArtifactStore
from fedchest.errors import StoreError
from fedchest.federation.contribution import (
    AcceptedUpdates,
    predict_coalitions,
    scores_of,
    trial_of,
    values_of,
)
from fedchest.federation.directory import (
    CONNECTION,
    COORDINATOR,
    SEALING_KEY,
    STUDY,
    Connection,
    CoordinatorDocument,
    read_document,
    read_study,
)
from fedchest.federation.evaluation import PublicEvaluation
from fedchest.federation.expectation import accepted_update, expectation
from fedchest.federation.layout import update_layout
from fedchest.federation.messages import ModelMessage, OpenedMessage, ProposalMessage, UpdateReply
from fedchest.federation.party import open_ledger
from fedchest.federation.progress import ProgressLog
from fedchest.federation.recomputation import recompute, sum_claim
from fedchest.federation.study import Study
from fedchest.ledger.artifact_tree import artifact_root, round_artifacts
from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.records import Institution, Phase, Proposal, RoundState, Submission
from fedchest.protection.codec import Codec, EncodedUpdate, Layout
from fedchest.protection.context import UpdateContext
from fedchest.protection.keys import load_sealing_key
from fedchest.protection.manifest import MAX_BYTES as MAX_MANIFEST_BYTES
from fedchest.protection.manifest import Manifest
from fedchest.protection.sealing import open_sealed
from fedchest.refusals import Reason, Refused

_SETTLING_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Received:
    """What came of one member's reply: the opened update, or the reason why there is none."""

    reply: UpdateReply | None
    outcome: EncodedUpdate | Reason


class Coordinator:
    """The wiring of the coordinator, opened from its own folder."""

    def __init__(
        self,
        document: CoordinatorDocument,
        study: Study,
        ledger: Ledger,
        key: X25519PrivateKey,
        folder: Path,
    ) -> None:
        self._document = document
        self._key = key
        self._evaluation = PublicEvaluation(document, study, folder)
        self._progress = ProgressLog(folder)
        self._opened_at = time.monotonic()
        self.artifacts = ArtifactStore(document.artifacts)
        self.study = study
        self.ledger = ledger

    @classmethod
    def open(cls, folder: Path) -> "Coordinator":
        """Open the coordinator's folder and check the chain. Raises StoreError, KeyFileError, ChainError."""
        connection = read_document(folder / CONNECTION, Connection)
        ledger = open_ledger(folder, connection)
        document = read_document(folder / COORDINATOR, CoordinatorDocument)
        return cls(
            document, read_study(folder / STUDY), ledger, load_sealing_key(folder / SEALING_KEY), folder
        )

    @property
    def reply_seconds(self) -> float:
        """How long a reply of an institution is waited for."""
        return self._document.reply_seconds

    def answer_seconds(self, state: RoundState) -> float:
        """How long an attestation is waited for: half its time where silent ones' updates may be opened then."""
        submitted = self.ledger.submissions(state.number)
        may_open = any(self._may_open(submitted[id]) for id in self.ledger.accepted(state.number))
        return self.ledger.rules().attestation_seconds / (2 if may_open else 1)

    def rounds_left(self) -> int:
        """Rounds that the study still has to finalize."""
        return max(self.study.rounds - self._finalized_rounds(), 0)

    def current_round(self) -> RoundState | None:
        """The newest round on chain, or None before the first."""
        number = self.ledger.current_round()
        return self.ledger.round(number) if number else None

    def members(self, state: RoundState) -> list[Institution]:
        """The institutions that take part in the round, in order of their numbers."""
        return [self.ledger.institution(member) for member in self.ledger.members(state.number)]

    def open_round(self) -> RoundState:
        """Open the next round on chain from the last finalized model."""
        self._opened_at = time.monotonic()
        state = self.ledger.round(self.ledger.open_round(self.study.digest()))
        self._progress.report("opened", round=state.number, members=state.members)
        return state

    def training_message(self, state: RoundState) -> ModelMessage:
        """The base model of the round, as it is distributed."""
        return ModelMessage(state.number, self.artifacts.get(state.base_model))

    def proposal_message(self, state: RoundState) -> ProposalMessage:
        """What the proposed model of the round is recomputed from, as it is handed out to be attested."""
        base, total = self.artifacts.get(state.base_model), self.artifacts.get(state.sum_hash)
        return ProposalMessage(state.number, base, total)

    def close_round(self, state: RoundState, replies: Mapping[int, UpdateReply | Reason]) -> None:
        """Check every member's reply, aggregate what holds and propose it; too few void the round.

        `replies` holds by institution number what came; a member that is absent from it did not reply.
        """
        layout = update_layout(self.study, self.ledger.finalized_before(state.number))
        members = self.members(state)
        received = {
            member.id: self._receive(state, member, replies.get(member.id, Reason.NO_REPLY), layout)
            for member in members
        }
        refusals = {i: part.outcome for i, part in received.items() if isinstance(part.outcome, Reason)}
        for member, reason in refusals.items():
            self._progress.report("refused", round=state.number, institution=member, reason=reason.name)
        accepted = {
            i: part.outcome for i, part in received.items() if isinstance(part.outcome, EncodedUpdate)
        }
        if len(accepted) < self.ledger.rules().minimum_accepted:
            self.ledger.abandon(state.number, refusals)
            return
        sum_hash = self._store_sum(members, accepted, layout)
        contribution = self._contribution(state, members, accepted, sum_hash)
        proposal = self._proposal(state, received, sorted(accepted), sum_hash, layout, contribution)
        self.ledger.propose(state.number, proposal, sorted(accepted), scores_of(contribution), refusals)
        self._progress.report("proposed", round=state.number, accepted=len(accepted), refused=len(refusals))

    def _store_sum(
        self, members: Sequence[Institution], accepted: Mapping[int, EncodedUpdate], layout: Layout
    ) -> bytes:
        weights = {member.id: member.weight_class for member in members}
        total = weighted_sum(list(accepted.values()), [weights[i] for i in accepted])
        return self.artifacts.put(sum_bytes(total, layout, Codec(self.study.norm_bound)))

    def _contribution(
        self,
        state: RoundState,
        members: Sequence[Institution],
        accepted: Mapping[int, EncodedUpdate],
        sum_hash: bytes,
    ) -> RecordContribution | None:
        """What each accepted update added, where credits follow that; the predictions that say so are stored."""
        rewards = self.study.rewards
        if rewards is None:
            return None
        base = parse_model(self.artifacts.get(state.base_model))
        weights = {member.id: member.weight_class for member in members}
        tried = AcceptedUpdates(base, accepted, weights, Codec(self.study.norm_bound))
        trial = trial_of(rewards, sum_claim(self.ledger, state.number, tried.institutions, sum_hash))
        predictions = predict_coalitions(tried, trial, self._evaluation)
        if predictions.truth.digest().hex() != rewards.truth_sha256:
            raise StoreError("The public set's labels are not those that the study measures contribution by.")
        stored = self.artifacts.put(predictions.to_bytes())
        return RecordContribution(stored.hex(), values_of(predictions, trial, tried.institutions))

    def _proposal(
        self,
        state: RoundState,
        received: Mapping[int, Received],
        accepted: Sequence[int],
        sum_hash: bytes,
        layout: Layout,
        contribution: RecordContribution | None,
    ) -> Proposal:
        """What the attestors will find again, made by the code that they run."""
        base, total = self.artifacts.get(state.base_model), self.artifacts.get(sum_hash)
        claim = sum_claim(self.ledger, state.number, accepted, sum_hash)
        found = recompute(base, total, claim, layout, Codec(self.study.norm_bound))
        self.artifacts.put(model_bytes(found.model))
        record = self.artifacts.put(_record(state, found.new_model, received, contribution).to_bytes())
        submitted = self.ledger.submissions(state.number)
        artifacts = round_artifacts({i: submitted[i] for i in accepted}, sum_hash, found.new_model, record)
        return Proposal(found.new_model, record, sum_hash, found.fingerprint, artifact_root(artifacts))

    def updates_to_open(self, state: RoundState) -> list[OpenedMessage]:
        """The accepted updates whose institutions have not answered, where opening them settles the round.

        None is shown in vain: all that are silent must have consented, and a quorum must agree already.
        """
        if state.phase is not Phase.PROPOSED or state.agreeing < state.quorum:
            return []
        silent = [id for id in self.ledger.accepted(state.number) if self.ledger.owes(state.number, id)]
        submitted = self.ledger.submissions(state.number)
        if not all(self._may_open(submitted[id]) for id in silent):
            return []
        return [self._opened(state, id, submitted[id]) for id in silent]

    def _may_open(self, submission: Submission) -> bool:
        """Whether the institution consented; a manifest that is not at hand, or is none, is no consent."""
        try:
            return Manifest.from_bytes(self.artifacts.get(submission.manifest_hash)).may_be_opened
        except (StoreError, Refused):
            return False

    def _opened(self, state: RoundState, institution: int, submission: Submission) -> OpenedMessage:
        context = UpdateContext(
            self.ledger.chain_id, self.ledger.address, state.number, institution, state.base_model
        )
        encoded, salt = open_sealed(self.artifacts.get(submission.sealed_hash), context, self._key)
        self._progress.report("opened for silence", round=state.number, institution=institution)
        manifest = self.artifacts.get(submission.manifest_hash)
        return OpenedMessage(state.number, institution, encoded, salt, manifest)

    def settle(self, state: RoundState) -> None:
        """Wait for the quorum until the round's deadline; a round still undecided then is expired."""
        while (state := self._recorded(state.number)).phase.is_live:
            if time.time() > state.deadline:
                self._expire(state)
            time.sleep(_SETTLING_POLL_SECONDS)
        self._progress.report("settled", round=state.number, finalized=state.phase is Phase.FINALIZED)

    def _recorded(self, round_number: int) -> RoundState:
        """The round as it is once the journal holds it: what is acted on can't get lost with the chain."""
        state = self.ledger.round(round_number)
        self.ledger.sync()
        now = self.ledger.round(round_number)
        return now if now == state else self._recorded(round_number)

    def _expire(self, state: RoundState) -> None:
        """Void the round by the chain's clock, which may be behind ours: then the next look tries again."""
        try:
            self.ledger.expire(state.number)
        except LedgerRefusal as refusal:
            if refusal.name not in ("DeadlineNotReached", "WrongPhase"):
                raise

    def abandon(self, state: RoundState) -> None:
        """Void an open round that an earlier process left behind; its updates may be sealed again for the next."""
        self.ledger.abandon(state.number, {})

    def evaluate(self, server_round: int, arrays: ArrayRecord) -> None:
        """Measure the finalized global model on the public set and note the figures; Flower calls it each round."""
        finalized = self._finalized_rounds()
        figures = self._evaluation.note(
            finalized_rounds=finalized,
            model=self.artifacts.get(self.ledger.global_model()),
            seconds=time.monotonic() - self._opened_at,
        )
        self._progress.report("measured", finalized_rounds=finalized, mean_auroc=figures.mean_auroc)

    def _finalized_rounds(self) -> int:
        return self.ledger.finalized_before(self.ledger.current_round() + 1)

    def _receive(
        self, state: RoundState, member: Institution, reply: UpdateReply | Reason, layout: Layout
    ) -> Received:
        if isinstance(reply, Reason):
            return Received(None, reply)
        if len(reply.sealed) > self._largest_seal(state) or len(reply.manifest) > MAX_MANIFEST_BYTES:
            return Received(None, Reason.MALFORMED)
        self.artifacts.put(reply.sealed)
        self.artifacts.put(reply.manifest)
        expected = expectation(self.study, self.ledger, state, member, layout)
        submission = self.ledger.submission(state.number, member.id)
        try:
            return Received(reply, accepted_update(reply, submission, member, expected, self._key))
        except Refused as refusal:
            return Received(reply, refusal.reason)

    def _largest_seal(self, state: RoundState) -> int:
        """An update holds at most one int32 where the model holds a float32; the slack is for headers."""
        return self.artifacts.path(state.base_model).stat().st_size * 2 + 65536


def _record(
    state: RoundState,
    new_model: bytes,
    received: Mapping[int, Received],
    contribution: RecordContribution | None,
) -> RoundRecord:
    return RoundRecord(
        round=state.number,
        base_model=state.base_model.hex(),
        new_model=new_model.hex(),
        entries=tuple(_entry(member, part) for member, part in sorted(received.items())),
        contribution=contribution,
    )


def _entry(member: int, part: Received) -> RecordEntry:
    reply = part.reply
    return RecordEntry(
        institution=member,
        reason=int(part.outcome) if isinstance(part.outcome, Reason) else 0,
        sealed=None if reply is None else hashlib.sha256(reply.sealed).hexdigest(),
        manifest=None if reply is None else hashlib.sha256(reply.manifest).hexdigest(),
        num_examples=None if reply is None else reply.num_examples,
    )
