"""Reading the JSON of servers, which is Python's: with numbers that JSON does not have, and halves of characters."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

import msgspec

__all__ = ["read_json"]


def read_json(text: str | bytes | memoryview) -> Any:
    """What a server says, as JSON can say it: a number that it cannot is None. None too when it is no JSON at all."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return _generously(text if isinstance(text, str) else bytes(text))


def _generously(text: str | bytes) -> Any:
    """Several times slower, and whatever it takes can be written again."""
    try:
        told = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        return msgspec.json.decode(json.dumps(told, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if isfinite(number) else None
