"""Checking an inclusion proof, offline: what a block's hash proves of an update or a model.

Nothing here reaches a network or reads a file: the pinned hash and the proof are all there is.
"""

from dataclasses import asdict, dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from fedchest.audit.proof import Claim, InclusionProof, Opening, hexadecimal
from fedchest.audit.trail import plain
from fedchest.errors import ProofError
from fedchest.ledger.records import Phase, RoundState, Submission
from fedchest.ledger.state import Header, ProvenStorage
from fedchest.ledger.storage import LedgerStorage
from fedchest.protection.commitment import commitment
from fedchest.protection.context import UpdateContext

_ACCEPTED = {
    Phase.PROPOSED: "accepted by its proposal, on which the members still vote",
    Phase.FINALIZED: "accepted, and in the model that the round finalized",
    Phase.VOID: "accepted by its proposal, but the round came to nothing",
}
_SUBMITTED = {
    Phase.SUBMITTING: "submitted; the round has no proposal yet",
    Phase.PROPOSED: "submitted, and not accepted by the round's proposal",
    Phase.FINALIZED: "submitted, and not accepted: the round was finalized without it",
    Phase.VOID: "submitted, and not accepted; the round came to nothing",
}
_NEW_MODEL = {
    Phase.PROPOSED: "the model proposed in round {}, not finalized so far",
    Phase.FINALIZED: "the model that round {} finalized",
    Phase.VOID: "the model proposed in round {}, which came to nothing",
}


@dataclass(frozen=True)
class ProvenUpdate:
    """An institution's update of the round; `accepted` says whether the round's proposal rests on it."""

    institution: int
    wallet: str
    accepted: bool
    submission: Submission


@dataclass(frozen=True)
class Statement:
    """What a proof proves, as of its block. Addresses are checksummed, hashes 32 bytes, `timestamp` in seconds.

    `subject` says in a clause what `hash` is.
    """

    hash: bytes
    subject: str
    study: bytes
    contract: str
    round: RoundState
    update: ProvenUpdate | None
    header: Header

    def sentence(self) -> str:
        """The statement in one sentence."""
        return f"{hexadecimal(self.hash)} is {self.subject}."

    def facts(self) -> dict[str, Any]:
        """Everything proven, in the trail's plain form."""
        facts: dict[str, object] = {
            "hash": self.hash,
            "is": self.subject,
            "study": self.study,
            "contract": self.contract,
            "round": self.round.number,
            "phase": self.round.phase,
            "base_model": self.round.base_model,
            "new_model": self.round.new_model if _proposed(self.round) else None,
        }
        if self.update is not None:
            own = {"institution": self.update.institution, "wallet": self.update.wallet}
            facts |= own | {"accepted": self.update.accepted} | asdict(self.update.submission)
        block = {"block": self.header.number, "block_hash": self.header.hash}
        return plain(facts | block | {"timestamp": self.header.timestamp})


def check(proof: InclusionProof, block_hash: bytes) -> Statement:
    """What the proof proves to whoever knows that `block_hash` (32 bytes) is of the chain.

    Everything is derived from that hash: the header, the contract's code and storage, the commitment. Raises
    ProofError, saying why, when the proof does not hold.
    """
    header = Header.from_bytes(proof.header)
    if header.hash != block_hash:
        raise ProofError(
            f"The proof's block is {hexadecimal(header.hash)}, the pinned one {hexadecimal(block_hash)}."
        )
    words = ProvenStorage(header, proof.claim.contract, proof.nodes).word
    return examine(proof.claim, header, LedgerStorage(words))


def examine(claim: Claim, header: Header, storage: LedgerStorage) -> Statement:
    """What the contract's storage in the header's block says of the claim. Raises ProofError when it denies it."""
    try:
        return _statement(claim, header, storage)
    except (ValueError, LookupError):  # a phase or combination that the contract does not know
        raise ProofError("The proof leads to words that the ledger can't have written.") from None


def _statement(claim: Claim, header: Header, storage: LedgerStorage) -> Statement:
    round = storage.round(claim.round)
    if round.phase is Phase.NONE:
        raise ProofError(f"Round {claim.round} was not opened by block {header.number}.")
    contract = to_checksum_address(claim.contract)
    update = None if claim.update is None else _opened(contract, claim.update, round, storage)
    return Statement(
        claim.hash,
        _subject(claim.hash, round, update),
        storage.study(),
        contract,
        round,
        update,
        header,
    )


def _opened(contract: str, opening: Opening, round: RoundState, storage: LedgerStorage) -> ProvenUpdate:
    """The update, if the opening and what the contract stores hash to the commitment."""
    member = storage.institution(opening.institution)
    context = UpdateContext(opening.chain_id, contract, round.number, opening.institution, round.base_model)
    hashes = (opening.sealed_hash, opening.plaintext_hash, opening.manifest_hash)
    committed = commitment(context, *hashes, member.weight_class, opening.epsilon)
    if committed != storage.commitment(round.number, opening.institution):
        raise ProofError(
            f"This is not what institution {opening.institution} committed to in round {round.number}."
        )
    return ProvenUpdate(
        opening.institution,
        member.wallet,
        opening.institution in storage.accepted(round.number),
        Submission(committed, *hashes, member.weight_class, opening.epsilon),
    )


def _subject(digest: bytes, round: RoundState, update: ProvenUpdate | None) -> str:
    subject = _model(digest, round) if update is None else _update(digest, round, update)
    if subject is None:
        what = f"round {round.number}'s models" if update is None else "the update that the proof opens"
        raise ProofError(f"{hexadecimal(digest)} is no hash of {what}.")
    return subject


def _update(digest: bytes, round: RoundState, update: ProvenUpdate) -> str | None:
    for name in ("commitment", "sealed_hash", "plaintext_hash", "manifest_hash"):
        if getattr(update.submission, name) == digest:
            owner = f"institution {update.institution}'s update in round {round.number}"
            fate = (_ACCEPTED if update.accepted else _SUBMITTED)[round.phase]
            return f"the {name.replace('_', ' ')} of {owner}: {fate}"
    return None


def _model(digest: bytes, round: RoundState) -> str | None:
    if digest == round.new_model and _proposed(round):
        return _NEW_MODEL[round.phase].format(round.number)
    return f"the model that round {round.number} started from" if digest == round.base_model else None


def _proposed(round: RoundState) -> bool:
    return round.new_model != bytes(len(round.new_model))
