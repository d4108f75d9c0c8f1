"""What the ledger holds, as values: rules, institutions, rounds, submissions, events."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

REQUIRED_CHECKS = 0x0F
"""Bit mask an agreeing attestation carries; its bits are `Check`. Equal to the contract's REQUIRED_CHECKS."""


class Check(IntEnum):
    """What a member checked before it attested. The sum is not among them: the attestation is partial."""

    OWN_UPDATE = 1  # own update accepted under its own commitment, or rightly absent
    BASE_MODEL = 2  # base model and lineage
    WEIGHT_CLASSES = 4  # every accepted update weighs its registered weight class
    NEW_MODEL = 8  # the proposed model's bytes hash to what was proposed


class Phase(IntEnum):
    """Where a round stands; the contract's enum of the same name."""

    NONE = 0
    OPEN = 1
    PROPOSED = 2
    FINALIZED = 3
    VOID = 4


class VoidCause(IntEnum):
    """Why a round came to nothing; the contract's enum of the same name."""

    ABANDONED = 0  # by the coordinator: too few updates could be accepted
    REJECTED = 1  # so many members disagreed that the quorum was out of reach
    EXPIRED = 2  # its deadline passed


@dataclass(frozen=True)
class Rules:
    """A study's rules on chain. `study` is 32 bytes; `cohort_size` 0 stands for all that are registered."""

    study: bytes
    submission_seconds: int
    attestation_seconds: int
    cohort_size: int
    minimum_accepted: int
    crash_only: bool


@dataclass(frozen=True)
class Institution:
    """A registered institution. Epsilons are cumulative micro-units; `wallet` is a checksummed address."""

    id: int
    wallet: str
    weight_class: int
    epsilon_budget: int
    epsilon_spent: int
    credits: int


@dataclass(frozen=True)
class RoundState:
    """A round as the contract holds it. Hashes are 32 bytes, `deadline` is block time in seconds."""

    number: int
    phase: Phase
    members: int
    quorum: int
    agreeing: int
    disagreeing: int
    deadline: int
    opened_block: int
    base_model: bytes
    config: bytes
    new_model: bytes
    record: bytes


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
