"""What parties do on every ledger: one method for each of the contract's actions."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from fedchest.errors import ChainError
from fedchest.ledger.calls import encoded_call
from fedchest.ledger.records import Attestation, Proposal, Receipt, UpdateCommitment
from fedchest.ledger.views import Views
from fedchest.ledger.wallet import Wallet


class Actions(Views):
    """A study's ledger as a party with a wallet writes it. An action that is forbidden raises LedgerRefusal."""

    wallet: Wallet | None

    @abstractmethod
    def _act(self, name: str, *arguments: Any, participants: int = 0, rehearse: bool = True) -> Receipt:
        """Carry out the contract's action of that name; `participants` bounds the institutions that it goes through."""

    # The coordinator's actions.

    def register_founder(self, wallet: str, weight_class: int, epsilon_budget: int) -> int:
        """List a founding institution; returns its id. The budget is in micro-units of epsilon."""
        self._act("registerFounder", wallet, weight_class, epsilon_budget)
        return self.institution_id(wallet)

    def open_round(self, config: bytes) -> int:
        """Open the next round under the configuration of that hash; returns the round's number."""
        rules = self.rules()
        self._act("openRound", config, participants=rules.cohort_size or self._view("activeCount"))
        return self.current_round()

    def propose(
        self,
        round: int,
        proposal: Proposal,
        accepted: Sequence[int],
        scores: Sequence[int],
        refusals: Mapping[int, int],
    ) -> Receipt:
        """Propose the aggregate of the `accepted` institutions, in increasing order, with their `scores` if any.

        `refusals` maps institutions to reasons.
        """
        listed = sorted(refusals.items())
        participants = len(accepted) + len(listed)
        proposed = astuple(proposal)
        return self._act(
            "proposeAggregate",
            round,
            proposed,
            list(accepted),
            list(scores),
            listed,
            participants=participants,
        )

    def abandon(self, round: int, refusals: Mapping[int, int]) -> Receipt:
        """Give up an open round, with the refusals on record."""
        return self._act("abandonRound", round, sorted(refusals.items()), participants=len(refusals))

    # Decisions, which a quorum of the institutions takes together.

    def approve_initial_model(self, model: bytes, provenance: bytes, roster: bytes) -> Receipt:
        """Support the study's first model and its founders, by `roster_hash`; all are hashes of 32 bytes."""
        return self._support("approveInitialModel", model, provenance, roster)

    def restart_from(self, round: int) -> Receipt:
        """Support going on from an earlier finalized round's model, 0 for the initial one."""
        return self._support("restartFrom", round)

    def register_institution(self, wallet: str, weight_class: int, epsilon_budget: int) -> Receipt:
        """Support another institution's joining."""
        return self._support("registerInstitution", wallet, weight_class, epsilon_budget)

    def suspend(self, institution: int) -> Receipt:
        """Support suspending an institution."""
        return self._support("suspendInstitution", institution)

    def reinstate(self, institution: int) -> Receipt:
        """Support a suspended institution's coming back."""
        return self._support("reinstateInstitution", institution)

    def revoke(self, institution: int) -> Receipt:
        """Support revoking an institution for good."""
        return self._support("revokeInstitution", institution)

    def rotate_key(self, institution: int, wallet: str) -> Receipt:
        """Support giving an institution that lost its key another wallet."""
        return self._support("rotateKey", institution, wallet)

    def pause(self) -> Receipt:
        """Support stopping every write but decisions."""
        return self._support("pause")

    def unpause(self) -> Receipt:
        """Support going on."""
        return self._support("unpause")

    def set_allowed(self, config: bytes, allowed: bool) -> Receipt:
        """Support allowing rounds under another configuration, or forbidding it."""
        return self._support("setAllowed", config, allowed)

    def move_study(self, successor: str) -> Receipt:
        """Support ending this ledger in favour of another."""
        return self._support("moveStudy", successor)

    def appoint_coordinator(self, wallet: str) -> Receipt:
        """Support giving an address the coordinator's role."""
        return self._support("grantRole", self._view("COORDINATOR"), wallet)

    def dismiss_coordinator(self, wallet: str) -> Receipt:
        """Support taking the coordinator's role from an address."""
        return self._support("revokeRole", self._view("COORDINATOR"), wallet)

    def withdraw(self, name: str, *arguments: Any) -> Receipt:
        """Take back the support of the contract's action `name` with these arguments."""
        return self._act("withdraw", encoded_call(name, arguments))

    # The institutions' actions.

    def submit_update(self, update: UpdateCommitment) -> Receipt:
        """Commit to an update from the institution's own wallet."""
        return self._act("submitUpdate", astuple(update))

    def submit_update_for(self, update: UpdateCommitment, signature: bytes) -> Receipt:
        """Commit for the institution that signed it; from any wallet."""
        return self._act("submitUpdateFor", astuple(update), signature)

    def sign_update(self, update: UpdateCommitment) -> bytes:
        """The wallet's signature (65 bytes), with which anyone may submit the update."""
        if self.wallet is None:
            raise ChainError(
                "Signing a submission needs a wallet, and this ledger was opened for reading only."
            )
        return self.wallet.sign_digest(self.commitment_to(update))

    def rotate_own_key(self, wallet: str) -> Receipt:
        """Replace this institution's wallet; the present one can do nothing more."""
        return self._act("rotateOwnKey", wallet)

    def attest(self, round: int, attestation: Attestation) -> Receipt:
        """Vote with the results that were computed here."""
        members = self.round(round).members
        return self._act("attest", round, astuple(attestation), participants=members)

    def answer_for(self, round: int, institution: int, proposal: bytes, share: bytes) -> Receipt:
        """Vouch for the share (24 bytes) of an accepted institution that is silent and whose update was opened here."""
        members = self.round(round).members
        return self._act("answerFor", round, institution, proposal, share, participants=members)

    # Anyone's.

    def expire(self, round: int) -> Receipt:
        """Void a live round whose deadline has passed. Raises LedgerRefusal (DeadlineNotReached).

        Sent without a rehearsal, which an idle development chain would run at the time of its last block.
        """
        return self._act("expireRound", round, rehearse=False)

    def report_equivocation(
        self, one: UpdateCommitment, signature: bytes, other: UpdateCommitment, other_signature: bytes
    ) -> Receipt:
        """Put on record that an institution committed to both; the signature of the one on chain may be empty."""
        return self._act("reportEquivocation", astuple(one), signature, astuple(other), other_signature)

    def _support(self, name: str, *arguments: Any) -> Receipt:
        """Support an action; the one that completes the quorum pays for the action too."""
        return self._act("support", encoded_call(name, arguments), participants=self._view("activeCount"))
