"""What travels between the server and an institution: one named schema a message, never a loose record.

A record that holds anything less, more or else than its schema is malformed
(tests/federation/test_messages.py::test_whatever_is_added_or_missing_is_malformed).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedchest.refusals import Reason, Refused

IDENTIFY, ATTEST, VOUCH = "query.identify", "query.attest", "query.vouch"
_BYTES, _FACTS, _METRICS, _REFUSAL = "bytes", "facts", "metrics", "refusal"
_SERIALIZATION = "fedchest/bytes"  # not NumPy's, whose header may promise more than memory holds
_Fact = TypeVar("_Fact", int, bytes)


@dataclass(frozen=True)
class IdentifyRequest:
    """Asks a node which institution it is; it signs `nonce` (32 bytes) with its wallet."""

    nonce: bytes

    def to_record(self) -> RecordDict:
        """As Flower content."""
        return RecordDict({_FACTS: ConfigRecord({"nonce": self.nonce})})

    @classmethod
    def from_record(cls, record: RecordDict) -> "IdentifyRequest":
        """From Flower content. Raises Refused(MALFORMED)."""
        _require_form(record, {_FACTS: {"nonce"}})
        return cls(_fact(record, "nonce", bytes))


@dataclass(frozen=True)
class IdentifyReply:
    """The signature (65 bytes) over the nonce; the address is recovered from it, never taken on trust."""

    signature: bytes

    def to_record(self) -> RecordDict:
        """As Flower content."""
        return RecordDict({_FACTS: ConfigRecord({"signature": self.signature})})

    @classmethod
    def from_record(cls, record: RecordDict) -> "IdentifyReply":
        """From Flower content. Raises Refused(MALFORMED)."""
        _require_form(record, {_FACTS: {"signature"}})
        return cls(_fact(record, "signature", bytes))


@dataclass(frozen=True)
class ModelMessage:
    """The base model's canonical bytes, to train from in `round`."""

    round: int
    model: bytes

    def to_record(self) -> RecordDict:
        """As Flower content."""
        return RecordDict({_BYTES: _pack(model=self.model), _FACTS: ConfigRecord({"round": self.round})})

    @classmethod
    def from_record(cls, record: RecordDict) -> "ModelMessage":
        """From Flower content. Raises Refused(MALFORMED)."""
        _require_form(record, {_BYTES: {"model"}, _FACTS: {"round"}})
        return cls(round=_fact(record, "round", int), model=_unpack(record, "model"))


@dataclass(frozen=True)
class ProposalMessage:
    """What the proposal of `round` is recomputed from: the base model's canonical bytes and the sum's."""

    round: int
    base: bytes
    total: bytes

    def to_record(self) -> RecordDict:
        """As Flower content."""
        packed = _pack(base=self.base, total=self.total)
        return RecordDict({_BYTES: packed, _FACTS: ConfigRecord({"round": self.round})})

    @classmethod
    def from_record(cls, record: RecordDict) -> "ProposalMessage":
        """From Flower content. Raises Refused(MALFORMED)."""
        _require_form(record, {_BYTES: {"base", "total"}, _FACTS: {"round"}})
        return cls(_fact(record, "round", int), _unpack(record, "base"), _unpack(record, "total"))


@dataclass(frozen=True)
class OpenedMessage:
    """The accepted update of a silent `institution`: its encoded bytes, their salt, its manifest."""

    round: int
    institution: int
    encoded: bytes
    salt: bytes
    manifest: bytes

    def to_record(self) -> RecordDict:
        """As Flower content."""
        packed = _pack(encoded=self.encoded, salt=self.salt, manifest=self.manifest)
        facts = ConfigRecord({"round": self.round, "institution": self.institution})
        return RecordDict({_BYTES: packed, _FACTS: facts})

    @classmethod
    def from_record(cls, record: RecordDict) -> "OpenedMessage":
        """From Flower content. Raises Refused(MALFORMED)."""
        _require_form(record, {_BYTES: {"encoded", "salt", "manifest"}, _FACTS: {"round", "institution"}})
        parts = (_unpack(record, name) for name in ("encoded", "salt", "manifest"))
        return cls(_fact(record, "round", int), _fact(record, "institution", int), *parts)


@dataclass(frozen=True)
class UpdateReply:
    """The sealed update, its manifest, and the weight that Flower's convention calls num-examples."""

    sealed: bytes
    manifest: bytes
    num_examples: int

    def to_record(self) -> RecordDict:
        """As Flower content."""
        return RecordDict(
            {
                _BYTES: _pack(sealed=self.sealed, manifest=self.manifest),
                _METRICS: MetricRecord({"num-examples": self.num_examples}),
            }
        )

    @classmethod
    def from_record(cls, record: RecordDict) -> "UpdateReply":
        """From Flower content. Raises Refused: MALFORMED, or the reason that the institution itself gives."""
        _raise_reported_refusal(record)
        _require_form(record, {_BYTES: {"sealed", "manifest"}, _METRICS: {"num-examples"}})
        metrics = record.metric_records.get(_METRICS)
        examples = metrics["num-examples"] if metrics is not None else None
        if type(examples) is not int:
            raise Refused(Reason.MALFORMED)
        return cls(_unpack(record, "sealed"), _unpack(record, "manifest"), examples)


@dataclass(frozen=True)
class AttestReply:
    """Whether the institution's attestation, written on chain by its own wallet, agreed with the proposal."""

    agrees: bool

    def to_record(self) -> RecordDict:
        """As Flower content."""
        return RecordDict({_FACTS: ConfigRecord({"agrees": self.agrees})})


@dataclass(frozen=True)
class VouchReply:
    """The share (24 bytes) that the institution vouched for on chain."""

    share: bytes

    def to_record(self) -> RecordDict:
        """As Flower content."""
        return RecordDict({_FACTS: ConfigRecord({"share": self.share})})


def refusal_record(reason: Reason) -> RecordDict:
    """The answer of an institution that declines: the reason's code alone, no text."""
    return RecordDict({_REFUSAL: ConfigRecord({"reason": int(reason)})})


def _raise_reported_refusal(record: RecordDict) -> None:
    if _REFUSAL not in record.config_records:
        return
    _require_form(record, {_REFUSAL: {"reason"}})
    code = record.config_records[_REFUSAL]["reason"]
    if type(code) is not int or code not in {reason.value for reason in Reason}:
        raise Refused(Reason.MALFORMED)
    raise Refused(Reason(code))


def _require_form(record: RecordDict, form: Mapping[str, set[str]]) -> None:
    if {name: set(part) for name, part in record.items()} != form:
        raise Refused(Reason.MALFORMED)


def _fact(record: RecordDict, key: str, kind: type[_Fact]) -> _Fact:
    facts = record.config_records.get(_FACTS)
    value = facts[key] if facts is not None else None
    if type(value) is not kind:
        raise Refused(Reason.MALFORMED)
    return value


def _pack(**parts: bytes) -> ArrayRecord:
    return ArrayRecord(
        {name: Array("uint8", (len(part),), _SERIALIZATION, part) for name, part in parts.items()}
    )


def _unpack(record: RecordDict, name: str) -> bytes:
    arrays = record.array_records.get(_BYTES)
    array = arrays[name] if arrays is not None else None
    if array is None or array != Array("uint8", (len(array.data),), _SERIALIZATION, array.data):
        raise Refused(Reason.MALFORMED)
    return array.data
