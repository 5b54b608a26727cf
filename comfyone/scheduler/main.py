"""``uvicorn comfyone.scheduler.main:app``: a gateway as an application for any ASGI server, set by ``COMFYONE_*`` variables."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from comfyone.errors import ComfyOneError
from comfyone.gateway.app import create_app, open_gateway
from comfyone.settings.gateway import load_settings

__all__ = ["Application", "app"]


class Application:
    """A gateway that opens and closes with the server that it runs in. Nothing is opened before."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._open = AsyncExitStack()

    async def start(self) -> None:
        """Raises:
        SettingsError, StateError, StateInUse: as ``comfyone gateway`` would.
        """
        gateway = await self._open.enter_async_context(open_gateway(load_settings(None, {})))
        self._app = create_app(gateway)

    async def stop(self) -> None:
        self._app = None
        await self._open.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is None:
            raise ComfyOneError("the gateway is not open", hint="run it in a server that tells of its start (lifespan)")
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except ComfyOneError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})


app: Any = Application()
