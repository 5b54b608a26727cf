"""Reading the headers of a request where they lie, without a mapping made of all of them first."""

from __future__ import annotations

from starlette.types import Scope

__all__ = ["header_of"]


def header_of(scope: Scope, name: bytes) -> str | None:
    """A header of the request, by its name in small letters."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None
