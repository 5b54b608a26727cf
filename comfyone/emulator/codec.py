"""JSON, fast where it can be and as forgiving as the original where it must be."""

from __future__ import annotations

import json
from typing import Any

import msgspec


def encode(value: Any) -> bytes:
    """Write JSON. Half a character, which may stand in a JSON text but in no UTF-8, is escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value)).encode()


def decode(data: bytes | str) -> Any:
    """Read JSON; ``NaN`` and ``Infinity`` are numbers.

    Raises:
        json.JSONDecodeError: it is none.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(data)
