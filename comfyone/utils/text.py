"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["format_bytes", "format_duration"]

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def format_duration(seconds: float) -> str:
    """A time as text: ``12.3s``, ``2m 30s``, ``1h 5m``."""
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if round(seconds, 1) < 60:
        return f"{sign}{seconds:.1f}s"
    # What rounds up to a minute is one; beyond that, the smaller unit counts what is over.
    minutes, rest = divmod(max(60, int(seconds)), 60)
    if minutes < 60:
        return f"{sign}{minutes}m {rest}s"
    return f"{sign}{minutes // 60}h {minutes % 60}m"


def format_bytes(n: float) -> str:
    """A size as text, a thousand and twenty-four of each unit in the next: ``1.50 MB``."""
    size, unit = float(n), 0
    while round(abs(size), 2) >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.2f} {_UNITS[unit]}"
