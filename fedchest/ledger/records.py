"""What the ledger holds, as values: rules, institutions, rounds, submissions, events."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

REQUIRED_CHECKS = 0x7F
"""Bit mask an agreeing attestation carries; its bits are `Check`. Equal to the contract's REQUIRED_CHECKS."""


class Check(IntEnum):
    """What a member checked before it attested; that the sum is the updates' is shown by the shares together."""

    OWN_UPDATE = 1  # own update accepted under its own commitment, or rightly absent
    BASE_MODEL = 2  # base model and lineage
    WEIGHT_CLASSES = 4  # every accepted update weighs its registered weight class
    NEW_MODEL = 8  # base model and sum give the model that was proposed
    SUM = 16  # the sum received has the proposed hash and fingerprint
    NORM = 32  # the mean that the sum gives is within the norm bound
    ARTIFACTS = 64  # the artifact root is that of the artifacts which the proposal rests on


class Phase(IntEnum):
    """Where a round stands; the contract's enum of the same name."""

    NONE = 0
    OPEN = 1
    SUBMITTING = 2  # at least one institution has committed to an update
    PROPOSED = 3
    FINALIZED = 4
    VOID = 5

    @property
    def takes_updates(self) -> bool:
        """Whether institutions may still submit."""
        return self in (Phase.OPEN, Phase.SUBMITTING)

    @property
    def is_live(self) -> bool:
        """Whether the round's outcome is open."""
        return self.takes_updates or self is Phase.PROPOSED


class Status(IntEnum):
    """Whether an institution takes part; the contract's enum of the same name."""

    NONE = 0
    ACTIVE = 1
    SUSPENDED = 2  # may come back
    REVOKED = 3  # may not


class VoidCause(IntEnum):
    """Why a round came to nothing; the contract's enum of the same name."""

    ABANDONED = 0  # by the coordinator: too few updates could be accepted
    REJECTED = 1  # so many members disagreed that the quorum was out of reach
    EXPIRED = 2  # its deadline passed
    DISPUTED = 3  # the accepted updates' fingerprints don't add up to the proposed sum's


class ArtifactKind(IntEnum):
    """What a round's artifact is; the contract's enum of the same name."""

    SEALED_UPDATE = 0
    MANIFEST = 1
    SUM = 2
    MODEL = 3
    RECORD = 4


@dataclass(frozen=True)
class Rules:
    """A study's rules on chain. `study` and `app` are 32 bytes; `cohort_size` 0 stands for all that are active.

    `by_contribution`: credits go by contribution score instead of weight class. `norm_bound` is in millionths,
    `epsilon_budget` the largest that an institution may have, in micro-units.
    """

    study: bytes
    app: bytes
    founders: int
    submission_seconds: int
    attestation_seconds: int
    cohort_size: int
    minimum_accepted: int
    crash_only: bool
    by_contribution: bool
    norm_bound: int
    epsilon_budget: int


@dataclass(frozen=True)
class Institution:
    """A registered institution. Epsilons are cumulative micro-units; `wallet` is its present, checksummed address.

    `strikes` counts the equivocations that were proven against it.
    """

    id: int
    wallet: str
    weight_class: int
    epsilon_budget: int
    strikes: int
    status: Status
    epsilon_spent: int
    credits: int


@dataclass(frozen=True)
class RoundState:
    """A round as the contract holds it. Hashes are 32 bytes, `deadline` is block time in seconds.

    `parent` is the finalized round whose model it starts from, 0 for the initial model.

    `fingerprint` is the proposed sum's, `gathered` what the accepted institutions' add up to so far, `unanswered`
    how many of those are missing; fingerprints are 24 bytes (fedchest/aggregation/fingerprint.py). `proposal` is the
    hash of all that was proposed, `artifacts` the Merkle root over what it rests on. `halted`: a pause stops the round.
    """

    number: int
    phase: Phase
    members: int
    quorum: int
    agreeing: int
    disagreeing: int
    deadline: int
    opened_block: int
    parent: int
    halted: bool
    base_model: bytes
    config: bytes
    new_model: bytes
    record: bytes
    sum_hash: bytes
    fingerprint: bytes
    unanswered: int
    gathered: bytes
    proposal: bytes
    artifacts: bytes


@dataclass(frozen=True)
class Proposal:
    """What the coordinator proposes: SHA-256 hashes (32 bytes) and the sum's fingerprint (24 bytes).

    `artifacts` is the Merkle root (32 bytes) over what the proposal rests on (fedchest/ledger/artifact_tree.py).
    """

    new_model: bytes
    record: bytes
    sum_hash: bytes
    fingerprint: bytes
    artifacts: bytes


@dataclass(frozen=True)
class Attestation:
    """A member's vote on `proposal`, and what it computed: hashes of 32 bytes, fingerprints of sum and own update."""

    proposal: bytes
    new_model: bytes
    fingerprint: bytes
    share: bytes
    checks: int


@dataclass(frozen=True)
class UpdateCommitment:
    """What an institution commits to. Hashes are 32 bytes, `epsilon` is cumulative, in micro-units."""

    round: int
    institution: int
    base_model: bytes
    sealed_hash: bytes
    plaintext_hash: bytes
    manifest_hash: bytes
    weight_class: int
    epsilon: int


@dataclass(frozen=True)
class Submission:
    """What an institution committed to in a round. Hashes are 32 bytes, `epsilon` is in micro-units."""

    commitment: bytes
    sealed_hash: bytes
    plaintext_hash: bytes
    manifest_hash: bytes
    weight_class: int
    epsilon: int


@dataclass(frozen=True)
class Receipt:
    """A mined transaction: its hash (0x...), its block's number, the gas it used."""

    transaction: str
    block: int
    gas: int


@dataclass(frozen=True)
class Event:
    """One event of the ledger, with the transaction that caused it.

    `gas` and `sender` are the transaction's: several events of one transaction repeat them. `values` holds
    the event's other fields under snake_case names: hashes as bytes, lists as tuples, `rules` as Rules,
    `cause` as VoidCause, `reason` as the number on chain.
    """

    block: int
    index: int
    timestamp: int
    transaction: str
    sender: str
    gas: int
    name: str
    round: int | None
    institution: int | None
    values: Mapping[str, object]
