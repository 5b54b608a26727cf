"""Routes as ComfyUI has them: each also under ``/api``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from comfyone.gateway.dialects.routing import Call, Route
from comfyone.gateway.domain.tenants import Scope

__all__ = ["native"]


def native(method: str, path: str, handler: Callable[[Call], Awaitable[Any]], summary: str, **more: Any) -> Route:
    """A route of ComfyUI's. Unless told otherwise its refusals are plain text, and it asks for the scope ``jobs``."""
    settings = {"refusals": ("text/plain",), "scope": Scope.JOBS, **more}
    return Route(method, path, handler, summary, aliases=((method, f"/api{path}"),), **settings)
