"""Logging with loguru: silent until asked, and one sink a file however many clients write to it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import BinaryIO, Protocol

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
        added = logger.add(_LogFile(path), level=least, format=format_string, filter=name, diagnose=False)
        _sinks[path] = (added, least)


class _LogFile:
    """A file that is opened with the first line. When it can't be written, that is said once, and the work goes on: a disk that
    is full must not end what is logged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._complained = False

    def write(self, message: str) -> None:
        """Append a line, at once."""
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab", buffering=0)
            self._file.write(message.encode(errors="replace"))
        except OSError as error:
            if not self._complained:
                self._complained = True
                sys.stderr.write(f"the log file {self._path} can't be written: {error.strerror or error}\n")

    def stop(self) -> None:
        """Close it: loguru lets go of it."""
        if self._file is not None:
            self._file.close()
            self._file = None
