"""Logging with loguru: silent until asked, and one sink a file however many clients write to it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from loguru import logger

__all__ = ["FORMAT", "Log", "default_logger", "setup_logger"]

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} | {level: <7} | {name}:{line} | {message}"

_sinks: dict[Path, tuple[int, int]] = {}  # file: its sink and the least level that goes there
_guard = threading.Lock()


class Log(Protocol):
    """What we ask of a logger; those of loguru and of the standard library both have it."""

    def debug(self, message: str, /) -> None:
        """Log what only a developer wants to know."""

    def info(self, message: str, /) -> None:
        """Log what an operator may want to know."""

    def warning(self, message: str, /) -> None:
        """Log what may become a problem."""

    def error(self, message: str, /) -> None:
        """Log what went wrong."""


def default_logger() -> Log:
    """Loguru's logger. Our lines are off until `setup_logger` or ``loguru.logger.enable("comfyone")`` turns them on."""
    return logger


def setup_logger(
    name: str = "comfyone",
    level: str | int = "INFO",
    log_file: str | Path | None = None,
    format_string: str = FORMAT,
) -> Log:
    """Turn our lines on, and return the logger that writes them.

    They go to the sinks that the application has given loguru (standard error, unless it said otherwise), and to
    ``log_file`` from ``level`` up. Asking again for the same file adds no second sink; it may lower the level.

    Args:
        name: The package or module whose lines are turned on.
        level: A name such as ``"DEBUG"``, or a number as in the standard library.
        log_file: A file to append to; missing folders are made.
        format_string: Loguru's format for that file.
    """
    least = logger.level(level.upper()).no if isinstance(level, str) else int(level)
    logger.enable(name)
    if log_file is not None:
        _write_to(Path(log_file).expanduser().resolve(), name, least, format_string)
    return logger


def _write_to(path: Path, name: str, least: int, format_string: str) -> None:
    with _guard:
        sink, level = _sinks.get(path, (None, least))
        if sink is not None and level <= least:
            return
        if sink is not None:
            logger.remove(sink)
        # No values of local variables in tracebacks: one of them might be a key.
        added = logger.add(path, level=least, format=format_string, filter=name, diagnose=False, delay=True)
        _sinks[path] = (added, least)
