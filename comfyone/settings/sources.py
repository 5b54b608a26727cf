"""Where settings come from: files and variables, read into values by name; and the error when one of them is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from comfyone.errors import ComfyOneError

__all__ = ["DEFAULTS", "PREFIX", "SettingsError", "Source", "from_yaml", "merged", "validated", "yaml_value"]

PREFIX = "COMFYONE_"
DEFAULTS = "the defaults"
Model = TypeVar("Model", bound=BaseModel)


class SettingsError(ComfyOneError):
    """A setting has a value that it cannot take; the message names the setting and where it came from."""


@dataclass(frozen=True, slots=True)
class Source:
    """Settings from one place, by name; in a schema with sections ``section.name``."""

    name: str
    values: Mapping[str, Any]


def merged(sources: Iterable[Source]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that are in force, a later source above an earlier one; and which source each is from."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        values |= source.values
        origins |= dict.fromkeys(source.values, source.name)
    return values, origins


def validated(
    schema: type[Model], values: Mapping[str, Any], origins: Mapping[str, str], known: Iterable[str]
) -> Model:
    """The settings as a record.

    Args:
        values: As the schema takes them, sections as mappings.
        origins: Source by the name of a setting.
        known: The names of all settings.

    Raises:
        SettingsError: naming the setting, what is wrong with its value, and its origin.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        path = [str(part) for part in first["loc"]]
        name = next((found for end in range(len(path), 0, -1) if (found := ".".join(path[:end])) in origins), "")
        inside = ".".join([*path, ""])  # a section that isn't known is told by what was given of it
        name = name or next((each for each in origins if each.startswith(inside)), "") or ".".join(path) or "settings"
        hint = _nearest(name, list(known)) if first["type"] == "extra_forbidden" else None
        raise SettingsError(f"setting '{name}' from {origins.get(name, DEFAULTS)}: {first['msg']}", hint=hint) from None


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"settings are: {', '.join(known)}"


def from_yaml(file: Path) -> Mapping[str, Any]:
    """What a YAML file holds, by name; an empty file holds nothing.

    Raises:
        SettingsError: it cannot be read, or holds something else than names and values.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"the settings file {file} cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"the settings file {file} holds no mapping of names to values")
    return {str(name).replace("-", "_"): value for name, value in content.items()}


def yaml_value(text: str) -> Any:
    """A value as it would stand in the file; what is no YAML is a text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
