"""A passage before a ComfyUI that notes when each message of its socket has come by: what arrives later, arrives later by us."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
from aiohttp import web

__all__ = ["Heard", "Passage", "heard", "passage"]

Heard = tuple[str, str]
"""Of a message: its type and node."""

_OWN = ("host", "connection", "upgrade", "transfer-encoding", "content-length", "content-encoding", "accept-encoding")


def heard(frame: str) -> Heard | None:
    """What a frame is, if it tells of a prompt."""
    message = json.loads(frame)
    data = message["data"]
    return (message["type"], str(data.get("node"))) if "prompt_id" in data else None


class Passage:
    """``log`` has every message of a prompt that came by, and when (`time.perf_counter`)."""

    def __init__(self, behind: str) -> None:
        self.url = ""
        self.log: list[tuple[Heard, float]] = []
        self._behind = behind
        self._session: aiohttp.ClientSession

    async def serve(self, stop: asyncio.Event, ready: threading.Event) -> None:
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            app = web.Application(client_max_size=1 << 30)
            app.router.add_get("/ws", self._socket)
            app.router.add_route("*", "/{path:.*}", self._call)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set()
            await stop.wait()
            await runner.cleanup()

    async def _call(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        url = self._behind + request.raw_path
        async with self._session.request(
            request.method, url, data=await request.read(), headers=headers, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        front = web.WebSocketResponse(max_msg_size=0)
        await front.prepare(request)
        async with self._session.ws_connect(self._behind + request.raw_path, max_msg_size=0) as back:
            both = asyncio.ensure_future(_pass(front, back)), asyncio.ensure_future(self._pass_noted(back, front))
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for one in both:
                one.cancel()
        return front

    async def _pass_noted(self, back: Any, front: Any) -> None:
        async for message in back:
            if message.type is aiohttp.WSMsgType.TEXT:
                await front.send_str(message.data)
                passed = time.perf_counter()
                if told := heard(message.data):
                    self.log.append((told, passed))
            elif message.type is aiohttp.WSMsgType.BINARY:
                await front.send_bytes(message.data)


async def _pass(source: Any, sink: Any) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)


@contextmanager
def passage(behind: str) -> Iterator[Passage]:
    """A passage to ``behind``, in a thread of its own."""
    made, ready = Passage(behind), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(made.serve(stop, ready),), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
