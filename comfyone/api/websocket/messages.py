"""What travels over the v1 WebSocket, for whoever reads it in whichever colour."""

from __future__ import annotations

import json
from typing import Any

from comfyone.errors import AuthenticationError, ConnectionError

__all__ = ["SILENCE", "SPELLINGS", "Message", "farewell", "greeting", "message_in"]

Message = dict[str, Any]

SILENCE = 30.0
"""Seconds without a frame until we ask whether the server is still there; twice that, and it is not."""

SPELLINGS = {"pendding": "pending", "pending": "pendding"}
"""Both spellings of one type: servers know the one, people the other."""

_REFUSED = 4401


def greeting(key: str) -> Message:
    """The first frame."""
    return {"type": "auth", "token": key}


def message_in(content: str | bytes) -> Message | None:
    """The message in a frame, or None if it is none."""
    try:
        message = json.loads(content)
    except ValueError:
        return None
    return message if isinstance(message, dict) and isinstance(message.get("type"), str) else None


def farewell(url: str, code: int, reason: str) -> AuthenticationError | ConnectionError:
    """What it means that the server closed the connection."""
    if code == _REFUSED:
        return AuthenticationError(401, "Invalid API key", {"close_code": code}, status=401)
    told = f"{code} {reason}".strip()
    return ConnectionError(f"WebSocket {url} was closed by the server ({told})", {"close_code": code, "sent": True})
