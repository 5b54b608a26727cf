"""Routes as ComfyUI has them: each also under ``/api``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from comfyone.gateway.dialects.routing import Call, Route

__all__ = ["native"]


def native(method: str, path: str, handler: Callable[[Call], Awaitable[Any]], summary: str, **more: Any) -> Route:
    """A route of ComfyUI's; its refusals are plain text unless told otherwise."""
    more.setdefault("refusals", ("text/plain",))
    return Route(method, path, handler, summary, aliases=((method, f"/api{path}"),), **more)
