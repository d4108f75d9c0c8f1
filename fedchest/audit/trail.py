"""The trail's plain form: what an event says, in the words that tables, JSON and the index use."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from fedchest.errors import ConfigError
from fedchest.ledger.records import Event
from fedchest.refusals import Reason


def plain(values: Mapping[str, object]) -> dict[str, Any]:
    """An event's values as JSON holds them: hashes in hexadecimal, lists, refusals and causes by name."""
    return {key: _reason(value) if key == "reason" else _value(value) for key, value in values.items()}


def event_line(event: Event | None) -> str:
    """An event in one line: kind, block, values; "nothing" for none."""
    if event is None:
        return "nothing"
    values = ", ".join(f"{key} {value}" for key, value in plain(event.values).items())
    return f"{event.name} in block {event.block} by {event.sender}: {values}"


def block_time(option: str, text: str) -> int:
    """The seconds since 1970 that `text`, an ISO 8601 date or time, names; UTC where it has no zone.

    Raises ConfigError naming the option.
    """
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{option} {text}: allowed is a time in ISO 8601, as 2026-11-23 or 2026-11-23T09:30:00Z."
        ) from None


def _value(value: object) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, (int, str)):
        return value
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    return value


def _reason(code: object) -> object:
    return next((reason.name for reason in Reason if reason == code), code)
