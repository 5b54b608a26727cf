"""What may stand before a ComfyUI: it wants to know who asks, has the server under a prefix, and remembers requests."""

from __future__ import annotations

import asyncio
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

__all__ = ["Front"]

_HOP = {"host", "transfer-encoding", "content-length", "connection", "content-encoding"}


class Front:
    """A reverse proxy in a thread of its own.

    Args:
        target: The server behind it.
        prefix: Where that appears.
        wants: Header fields without which a request is refused with 401.
        certificate: With this (and its key, in one file) it speaks TLS.
    """

    def __init__(
        self, target: str, prefix: str = "", wants: dict[str, str] | None = None, certificate: Path | None = None
    ) -> None:
        self.target, self.prefix, self.wants = target, prefix, wants or {}
        self._tls = _context(certificate) if certificate else None
        self.late_answers = 0.0  # seconds that answers to a POST are kept back
        self.seen: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def count(self, method: str, start: str) -> int:
        """How many requests of a kind there were."""
        return sum(1 for seen, path in self.seen if seen == method and path.startswith(start))

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self._runner.addresses[0][1]}{self.prefix}"

    async def _stop(self) -> None:
        await self._session.close()
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport:
                connection.transport.abort()  # encrypted ones would wait for a farewell that nobody sends
        await self._runner.cleanup()
        await asyncio.sleep(0)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        self.headers.append(dict(request.headers))
        if not path.startswith(self.prefix + "/"):
            return web.Response(status=404)
        if any(request.headers.get(name) != value for name, value in self.wants.items()):
            return web.Response(status=401, text="who are you?")
        path = path.removeprefix(self.prefix)
        self.seen.append((request.method, path))
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request, path)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        body = await request.read()
        async with self._session.request(request.method, self.target + path, headers=headers, data=body) as answer:
            if request.method == "POST":
                await asyncio.sleep(self.late_answers)
            told = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return web.Response(status=answer.status, headers=told, body=await answer.read())

    async def _socket(self, request: web.Request, path: str) -> web.StreamResponse:
        near = web.WebSocketResponse()
        await near.prepare(request)
        async with self._session.ws_connect(self.target + path) as far:
            up = asyncio.create_task(_pump(near, far))
            await _pump(far, near)
            up.cancel()
        await near.close()
        return near


def _context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def _pump(source: Any, target: Any) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
