"""The record of a round: which bytes went into the proposal and why others did not. Its hash is on chain."""

import json
from dataclasses import asdict, dataclass

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fedchest.errors import StoreError


@dataclass(frozen=True)
class RecordEntry:
    """One member's part: the artifacts received (hex SHA-256, None where none came) and what became of them.

    `num_examples` is the weight that the reply claimed; `reason` is 0 for an accepted update, else a refusal's code.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    institution: int
    reason: int
    sealed: str | None
    manifest: str | None
    num_examples: int | None


@dataclass(frozen=True)
class RecordValue:
    """What an accepted update added to the mean AUROC, in millionths, with its 95 % interval where there is one."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    institution: int
    value: int
    low: int | None
    high: int | None

    @property
    def score(self) -> int:
        """What credits are split by: the value, or 0 where it is below."""
        return max(self.value, 0)


@dataclass(frozen=True)
class RecordContribution:
    """The predictions that the round's scores rest on (hex SHA-256), and the accepted updates' values."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    predictions: str
    values: tuple[RecordValue, ...]


@dataclass(frozen=True)
class RoundRecord:
    """What the coordinator proposes for a round, in the order of the members' numbers; hashes are hex SHA-256.

    `contribution` is None where credits follow the weight classes.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    round: int
    base_model: str
    new_model: str
    entries: tuple[RecordEntry, ...]
    contribution: RecordContribution | None = None

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "RoundRecord":
        """Parse `to_bytes` output. Raises StoreError when it is not a round's record."""
        try:
            return TypeAdapter(cls).validate_json(content)
        except ValidationError:
            raise StoreError("A round's record in the artifact store is not of the agreed form.") from None
