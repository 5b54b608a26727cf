"""Settings from a ``config.yaml`` as a dictionary, and logging as they say."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

from comfyone.settings.client import LoggingSection, load_client_settings
from comfyone.settings.sources import SettingsError, validated
from comfyone.utils.logging import FORMAT, Log, setup_logger

if TYPE_CHECKING:
    from loguru import Message, Record

__all__ = ["ConfigNotFoundError", "load_config", "setup_logging"]

_OURS = "comfyone"
_LOGURU_LEAST = logger.level("DEBUG").no  # what loguru's own first sink shows
_console: list[int] = []  # our sink for the terminal, once there is one
_guard = threading.Lock()


class ConfigNotFoundError(SettingsError, FileNotFoundError):
    """The settings file is not there."""


def load_config(path: str | os.PathLike[str] = "config.yaml") -> dict[str, Any]:
    """Read a settings file; what it leaves out has its default. Variables of the environment have no say.

    Returns:
        Section → name → value, such as ``config["comfyui"]["port"]``. Paths are texts; secrets are as they stand there.

    Raises:
        ConfigNotFoundError: There is no such file. It is a builtin ``FileNotFoundError`` too.
        SettingsError: It is no YAML, or a setting is unknown or has a value that it can't take.
    """
    file = Path(path)
    if not file.exists():
        raise ConfigNotFoundError(
            f"the settings file {file} is not there", hint="name another, or leave it out to use the defaults"
        )
    settings, _ = load_client_settings(file, environment={})
    config: dict[str, Any] = settings.model_dump(mode="json")
    server = settings.comfyui
    config["comfyui"]["headers"] = {name: value.get_secret_value() for name, value in server.headers.items()}
    config["comfyui"]["auth"] = server.auth.get_secret_value() if server.auth else None
    return config


def setup_logging(config: Mapping[str, Any] | None = None) -> Log:
    """Log as a configuration says: ``logging.level``, ``logging.file`` (None: none) and ``logging.console``.

    Call it as often as you like; no line is written twice. What other modules log through loguru's own first sink is still
    shown.

    Args:
        config: What `load_config` gave. What it leaves out has its default.

    Raises:
        SettingsError: One of the three is of the wrong kind.
    """
    given = (config or {}).get("logging") or {}
    settings = validated(
        LoggingSection, given, {f"logging.{name}": "the configuration" for name in given}, LoggingSection.model_fields
    )
    log = setup_logger(_OURS, settings.level, settings.file)
    _log_to_terminal(settings.level if settings.console else None)
    return log


def _log_to_terminal(level: str | None) -> None:
    """Show our lines from ``level`` up, or none of them, on standard error."""
    least = sys.maxsize if level is None else logger.level(level).no

    def wanted(record: Record) -> bool:
        name = record["name"] or ""
        ours = name == _OURS or name.startswith(f"{_OURS}.")
        return record["level"].no >= (least if ours else _LOGURU_LEAST)

    with _guard:
        try:
            logger.remove(_console.pop() if _console else 0)
        except ValueError:
            return  # the application has taken loguru's first sink away: it has its own, and says what they show
        _console.append(logger.add(_to_terminal, level=0, format=FORMAT, filter=wanted, diagnose=False))


def _to_terminal(message: Message) -> None:
    sys.stderr.write(message)  # looked up each time: a program may put another in its place
