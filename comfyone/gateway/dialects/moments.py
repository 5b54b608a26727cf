"""Times as every dialect writes them: RFC 3339, in UTC, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["moment", "moment_or_none"]


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_or_none(seconds: float | None) -> str | None:
    return moment(seconds) if seconds else None
