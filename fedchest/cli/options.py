"""Every setting as a command-line option, made from the one typed tree so that none can be missing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fedchest.data.labels import UncertaintyPolicy
from fedchest.errors import ConfigError
from fedchest.federation.config import Settings

Command = Callable[..., Any]

ConfigOption = click.option(
    "--config", "file", type=click.Path(path_type=Path), help="read settings from this TOML file"
)
ResumeOption = click.option(
    "--resume", "resumed", type=click.Path(path_type=Path), help="go on with this run directory"
)
JsonOption = click.option("--json", "as_json", is_flag=True, help="print the results as JSON")


def settings_options(*sections: str) -> Callable[[Command], Command]:
    """Add one option a setting of `sections` (default: all) to a command; those not given arrive as None."""

    def add(command: Command) -> Command:
        for section, name, field in reversed(_fields()):
            if not sections or section in sections:
                command = _option(section, name, field)(command)
        return command

    return add


def overrides(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The options that were given, by section; pydantic reads their text. Raises ConfigError for a bad LABEL=POLICY."""
    sections: dict[str, dict[str, Any]] = {}
    for section, name, field in _fields():
        value = given.get(name)
        if value is None or value == ():
            continue
        sections.setdefault(section, {})[name] = _pairs(value) if _is_mapping(field) else value
    return sections


def _fields() -> list[tuple[str, str, FieldInfo]]:
    found = []
    for section, section_field in Settings.model_fields.items():
        kind = section_field.annotation
        assert isinstance(kind, type) and issubclass(kind, BaseModel)
        found += [(section, name, field) for name, field in kind.model_fields.items()]
    return found


def _option(section: str, name: str, field: FieldInfo) -> Callable[[Command], Command]:
    flag = "--" + name.replace("_", "-")
    help_text = f"{field.description} [{section}]{_default_text(field)}"
    if field.annotation is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=help_text)
    return click.option(flag, name, metavar=_metavar(field), multiple=_is_mapping(field), help=help_text)


def _metavar(field: FieldInfo) -> str:
    if _is_mapping(field):
        return "LABEL=POLICY"
    return str(getattr(field.annotation, "__name__", "VALUE")).upper()


def _default_text(field: FieldInfo) -> str:
    if field.default is PydanticUndefined or field.default is None:
        return ""
    return f" (default: {field.default})"


def _is_mapping(field: FieldInfo) -> bool:
    return getattr(field.annotation, "__origin__", None) is dict


def _pairs(items: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for item in items:
        label, separator, policy = item.partition("=")
        if not separator:
            raise ConfigError(f"uncertainty = {item!r}: allowed is LABEL={'|'.join(UncertaintyPolicy)}.")
        pairs[label] = policy
    return pairs
