"""Making an inclusion proof: finding where a hash is on the chain, and gathering what leads a block to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eth_utils.address import to_canonical_address

from fedchest.audit.inclusion import check, examine
from fedchest.audit.proof import Claim, InclusionProof, Opening, hexadecimal
from fedchest.errors import ConfigError
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.records import Submission
from fedchest.ledger.state import Header
from fedchest.ledger.storage import LedgerStorage


@dataclass(frozen=True)
class _Place:
    """Where a hash is: a round's model, or an institution's update in it."""

    round: int
    update: Opening | None

    @property
    def institution(self) -> int | None:
        """Whose update it is."""
        return None if self.update is None else self.update.institution

    def __str__(self) -> str:
        return f"round {self.round}" + ("" if self.update is None else f", institution {self.institution}")


def prove(
    ledger: LedgerClient,
    digest: bytes,
    *,
    round: int | None = None,
    institution: int | None = None,
    block: int | None = None,
) -> InclusionProof:
    """Prove to whoever knows the hash of `block` (default: the last) what `digest` is in a round.

    The digest is one of an update's four hashes or a model's, 32 bytes; `round` and `institution` choose where several
    places have it. A model is proven in the round that proposed it, or else in the first that started from it.
    Raises ConfigError when the digest is nowhere or in several places, ProofError when it was not there in that block.
    """
    place = _place(ledger, digest, round, institution)
    claim = Claim(
        hash=digest, contract=to_canonical_address(ledger.address), round=place.round, update=place.update
    )
    snapshot = ledger.snapshot(block)
    header = Header.from_bytes(snapshot.header)
    examine(claim, header, LedgerStorage(snapshot.word))  # so that the snapshot knows the words to prove
    proof = InclusionProof(claim=claim, header=snapshot.header, nodes=tuple(snapshot.nodes()))
    check(proof, header.hash)
    return proof


def _place(ledger: LedgerClient, digest: bytes, round: int | None, institution: int | None) -> _Place:
    rounds = [number for number in range(1, ledger.current_round() + 1) if round in (None, number)]
    places = [*_updates(ledger, digest, rounds)]
    if institution is not None:
        places = [place for place in places if place.institution == institution]
    elif not places:
        places = _models(ledger, digest, rounds)
    if len(places) == 1:
        return places[0]
    if not places:
        raise ConfigError(f"{hexadecimal(digest)}: no update or model there has this hash.")
    listed = "; ".join(str(place) for place in places)
    raise ConfigError(
        f"{hexadecimal(digest)} is in several places, choose by --round and --institution: {listed}."
    )


def _updates(ledger: LedgerClient, digest: bytes, rounds: Sequence[int]) -> Iterator[_Place]:
    for round in rounds:
        for institution, submission in ledger.submissions(round).items():
            if digest in _hashes(submission):
                yield _Place(round, _opening(ledger.chain_id, institution, submission))


def _models(ledger: LedgerClient, digest: bytes, rounds: Sequence[int]) -> list[_Place]:
    states = [ledger.round(round) for round in rounds]
    proposed = [_Place(state.number, None) for state in states if state.new_model == digest]
    started = [_Place(state.number, None) for state in states if state.base_model == digest]
    return proposed or started[:1]


def _hashes(submission: Submission) -> tuple[bytes, ...]:
    return submission.commitment, submission.sealed_hash, submission.plaintext_hash, submission.manifest_hash


def _opening(chain_id: int, institution: int, submission: Submission) -> Opening:
    return Opening(
        institution=institution,
        chain_id=chain_id,
        sealed_hash=submission.sealed_hash,
        plaintext_hash=submission.plaintext_hash,
        manifest_hash=submission.manifest_hash,
        epsilon=submission.epsilon,
    )
