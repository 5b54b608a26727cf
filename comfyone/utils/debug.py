"""Timing and context of one operation, for debug logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from comfyone.utils.logging import Log

__all__ = ["DebugContext", "debug_context"]


@dataclass(slots=True)
class DebugContext:
    """What is known of an operation. ``duration`` is in seconds; it and ``end_time`` are None until the end."""

    context: dict[str, Any] = field(default_factory=dict)
    start_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    end_time: datetime | None = None
    duration: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, times in ISO 8601."""
        return {
            "start_time": self.start_time.isoformat(),
            "end_time": self.end_time.isoformat() if self.end_time else None,
            "duration": self.duration,
            "context": self.context,
        }


@contextmanager
def debug_context(logger: Log, operation: str, **context: Any) -> Iterator[DebugContext]:
    """Log the start and the end of an operation with its duration; an error is logged, noted, and raised on."""
    record = DebugContext(context)
    logger.debug(f"{operation} starts {context}")
    try:
        yield record
    except BaseException as error:
        record.context["error"] = str(error)
        _finish(record)
        logger.error(f"{operation} failed after {record.duration:.3f} s: {error}")
        raise
    _finish(record)
    logger.debug(f"{operation} took {record.duration:.3f} s")


def _finish(record: DebugContext) -> None:
    record.end_time = datetime.now(UTC)
    record.duration = (record.end_time - record.start_time).total_seconds()
