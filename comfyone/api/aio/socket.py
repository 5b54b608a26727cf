"""`AsyncWebSocket`: live messages about jobs, for ``async for``."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp

from comfyone.api.websocket.messages import SILENCE, SPELLINGS, Message, farewell, greeting, message_in
from comfyone.errors import APIError, ConnectionError
from comfyone.transport.aio import AsyncTransport
from comfyone.transport.call import Call
from comfyone.transport.endpoint import ApiKey
from comfyone.transport.retry import may_pass
from comfyone.utils.logging import Log

__all__ = ["AsyncWebSocket"]

_LARGEST = 4 << 20  # bytes of a message
_SOCKET = Call("GET", "v1/ws")


class AsyncWebSocket:
    """The messages about all jobs of a key, each whole:

        async for message in client.ws:
            print(message["type"], message.get("taskId"), message["data"])

    Types are those of `OneThingAIWebSocket`. A lost connection is made anew; what was sent meanwhile is lost, so that
    `AsyncJob.events` is better for a single job. Who reads slowly makes the server wait, which drops progress first.

    Args:
        transport: Where connections come from.
        key: The API key. It travels in a header and in the first frame, and shows up nowhere else.
        reconnect_delay: Seconds between a lost connection and the next try; up to a quarter is added by chance.
        logger: Where to log.
    """

    def __init__(self, transport: AsyncTransport, key: ApiKey, reconnect_delay: float = 5, *, logger: Log) -> None:
        self.url = transport.endpoint.ws_url
        self.reconnect_delay = reconnect_delay
        self.logger = logger
        self._transport = transport
        self._key = key
        self._sockets: set[aiohttp.ClientWebSocketResponse] = set()
        self._closing = asyncio.Event()

    def __repr__(self) -> str:
        return f"AsyncWebSocket({self.url!r}, connected={self.is_connected()})"

    def __aiter__(self) -> AsyncGenerator[Message, None]:
        return self.messages()

    async def messages(self, *kinds: str) -> AsyncGenerator[Message, None]:
        """Messages of these types, or of all, until `close`. Each call has a connection of its own, while it is read.

        Raises:
            AuthenticationError: The server refused the key.
            ConnectionError: There will be no connection, however often it is tried.
        """
        wanted = {*kinds, *(SPELLINGS.get(kind, kind) for kind in kinds)}
        closing = self._closing
        while not closing.is_set():
            try:
                async with self._connected() as socket:
                    while not closing.is_set():
                        message = await self._next(socket)
                        if message is not None and (not wanted or message["type"] in wanted):
                            yield message
            except APIError as error:
                if closing.is_set():
                    return
                if not may_pass(error):
                    raise
                self.logger.warning(f"{error}; the next try is in {self.reconnect_delay:g} s")
            pause = self.reconnect_delay * random.uniform(1.0, 1.25)  # noqa: S311  nothing secret hangs on it
            with suppress(TimeoutError):
                await asyncio.wait_for(closing.wait(), pause)

    def is_connected(self) -> bool:
        """Whether a connection is open."""
        return any(not socket.closed for socket in self._sockets)

    async def close(self) -> None:
        """Close all connections, and end every reading of messages. New ones may begin."""
        self._closing.set()
        self._closing = asyncio.Event()
        await asyncio.gather(*(socket.close() for socket in list(self._sockets)))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        first = json.dumps(greeting(self._key.reveal()))
        async with self._transport.socket(_SOCKET, first, largest=_LARGEST, heartbeat=SILENCE) as socket:
            self._sockets.add(socket)
            self.logger.info(f"WebSocket {self.url} is connected")
            try:
                yield socket
            finally:
                self._sockets.discard(socket)

    async def _next(self, socket: aiohttp.ClientWebSocketResponse) -> Message | None:
        frame = await socket.receive()
        if frame.type is aiohttp.WSMsgType.CLOSE:
            raise farewell(self.url, int(frame.data or 1005), str(frame.extra or ""))
        if frame.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR):
            raise ConnectionError(f"WebSocket {self.url} broke", {"sent": True})
        message = message_in(frame.data) if frame.type is aiohttp.WSMsgType.TEXT else None
        if message is None:
            self.logger.warning(f"WebSocket {self.url}: dropped a frame that is no message")
        return message
