"""Reading the headers of a request where they lie, without a mapping made of all of them first."""

from __future__ import annotations

from starlette.types import Scope

__all__ = ["header_of", "length_of"]

MAX_DIGITS = 19
"""Of a length: longer ones are longer than any disk."""


def header_of(scope: Scope, name: bytes) -> str | None:
    """A header of the request, by its name in small letters."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def length_of(scope: Scope) -> int | None:
    """The declared length of the body, in bytes; None when it says none that makes sense."""
    declared = header_of(scope, b"content-length") or ""
    return int(declared) if declared.isascii() and declared.isdigit() and len(declared) < MAX_DIGITS else None
