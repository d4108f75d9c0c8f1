"""The manifest: the facts about an update that are committed with it and travel in clear beside the seal."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pydantic import ConfigDict, TypeAdapter

from fedchest.refusals import Reason, Refused

MAX_BYTES = 4096


@dataclass(frozen=True)
class Manifest:
    """What an institution states about its update. Hashes are in 64 hexadecimal digits.

    study: hash of the study's rules.  round, institution, base_model: as in the update's context.
    weight_class: the public FedAvg weight.  epsilon: cumulative, in micro-units.  norm_bound: L2.
    codec: name of the encoding.  dp: the study's DP constants by name, None without DP.
    sealed: SHA-256 of the sealed update.  may_be_opened: to the attestors, if the institution falls silent.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    study: str
    round: int
    institution: int
    base_model: str
    weight_class: int
    epsilon: int
    norm_bound: float
    codec: str
    dp: Mapping[str, float | int] | None
    sealed: str
    may_be_opened: bool

    def to_bytes(self) -> bytes:
        """Canonical JSON: ASCII, keys sorted, no spaces, the shortest digits that give the same numbers."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return text.encode("ascii")

    @staticmethod
    def from_bytes(content: bytes) -> "Manifest":
        """The manifest whose `to_bytes` is `content`. Raises Refused(MALFORMED) when none is."""
        if len(content) > MAX_BYTES:
            raise Refused(Reason.MALFORMED)
        try:
            manifest = _ADAPTER.validate_json(content)
            canonical = manifest.to_bytes()
        except ValueError:
            raise Refused(Reason.MALFORMED) from None
        if canonical != content:
            raise Refused(Reason.MALFORMED)
        return manifest

    def digest(self) -> bytes:
        """SHA-256 of `to_bytes`, 32 bytes."""
        return hashlib.sha256(self.to_bytes()).digest()


_ADAPTER = TypeAdapter(Manifest)
