"""The registry for embedding: ``router`` goes into an application of one's own, such as FastAPI's ``include_router``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from loguru import logger
from starlette.routing import Route, Router

from comfyone.gateway.dialects.registry.routes import REGISTRY_ROUTES
from comfyone.scheduler.main import Application

__all__ = ["router", "setup_log_level"]

_NAMES = {50: "CRITICAL", 40: "ERROR", 30: "WARNING", 20: "INFO", 10: "DEBUG"}


def setup_log_level(level: int | str) -> None:
    """Shows what the gateway logs from this level on: a name, or a number of the ``logging`` module."""
    logger.enable("comfyone")
    logger.remove()
    logger.add(sys.stderr, level=_NAMES.get(level, level) if isinstance(level, int) else level.upper())


def _router() -> Any:
    """The registry's paths alone, over a gateway that lives as long as the application they are put into."""
    application = Application()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await application.start()
        try:
            yield
        finally:
            await application.stop()

    paths = dict.fromkeys(path for route in REGISTRY_ROUTES for _, path in route.places)
    # FastAPI includes routers of its own alone; nobody else needs it
    kind: Any = import_module("fastapi").APIRouter if find_spec("fastapi") else Router
    return kind(routes=[Route(path, application) for path in paths], lifespan=lifespan)


router = _router()
