"""The trail: every event of a run from the chain, filtered and written out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from fedchest.errors import ConfigError
from fedchest.ledger.contract import artifact
from fedchest.ledger.records import Event, Institution
from fedchest.refusals import Reason

KINDS: tuple[str, ...] = tuple(sorted(entry["name"] for entry in artifact().abi if entry["type"] == "event"))
"""Names of the contract's events."""


def select(
    events: Sequence[Event],
    *,
    round: int | None = None,
    institution: int | None = None,
    kind: str | None = None,
) -> list[Event]:
    """The events of a round, of an institution (by number) and of a kind, as far as each is given.

    Raises ConfigError for a kind that the contract does not have; capitals don't matter.
    """
    name = None if kind is None else _kind(kind)
    return [
        event
        for event in events
        if round in (None, event.round)
        and institution in (None, event.institution)
        and name in (None, event.name)
    ]


def institution_number(text: str, institutions: Sequence[Institution]) -> int:
    """The number of the institution that `text` names: the number itself or the wallet. Raises ConfigError."""
    for institution in institutions:
        if text.lower() in (str(institution.id), institution.wallet.lower()):
            return institution.id
    raise ConfigError(
        f"--institution {text}: the run has institutions 0 to {len(institutions) - 1}, or give a wallet's address."
    )


def event_json(event: Event) -> dict[str, Any]:
    """The event as a JSON object: hashes in hexadecimal, times as UTC, refusals and causes by name."""
    return {
        "block": event.block,
        "time": utc(event.timestamp),
        "transaction": event.transaction,
        "sender": event.sender,
        "gas": event.gas,
        "kind": event.name,
        "round": event.round,
        "institution": event.institution,
        "values": _plain(event.values),
    }


def utc(timestamp: int) -> str:
    """Block time (seconds since 1970) as ISO 8601 in UTC."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _kind(kind: str) -> str:
    for name in KINDS:
        if name.lower() == kind.lower():
            return name
    raise ConfigError(f"--kind {kind}: allowed are {', '.join(KINDS)}.")


def _plain(values: Mapping[str, object]) -> dict[str, Any]:
    return {key: _reason(value) if key == "reason" else _value(value) for key, value in values.items()}


def _value(value: object) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    return value


def _reason(code: object) -> object:
    return next((reason.name for reason in Reason if reason == code), code)
