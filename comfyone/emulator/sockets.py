"""The WebSockets: who listens under which client id, and what is sent to whom."""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections import deque
from collections.abc import Iterable
from typing import Any

from aiohttp import WSMsgType, web

from comfyone.emulator.codec import decode, encode
from comfyone.emulator.scenario import Scenario

QUEUE_LIMIT = 20_000
TOGETHER = 64 * 1024
"""Bytes from which frames are sent before any more is added to them."""

PREVIEW, TEXT, PREVIEW_WITH_METADATA = 1, 3, 4
JPEG = 1
FEATURES = {"supports_preview_metadata": True, "max_upload_size": 100 * 1024 * 1024}


class Socket:
    """One connection. Messages are queued and sent by a task; one that does not read is cut when the queue is full."""

    def __init__(self, response: web.WebSocketResponse, transport: asyncio.Transport, scenario: Scenario) -> None:
        self.response, self.features = response, dict[str, Any]()
        self._transport, self._scenario = transport, scenario
        self._queue: deque[tuple[bytes, WSMsgType]] = deque()
        self._wake = asyncio.Event()
        self._sent = 0

    def push(self, message: bytes, kind: WSMsgType) -> None:
        """Queue a frame."""
        if self._scenario.silent_sockets:
            return
        if len(self._queue) >= QUEUE_LIMIT:
            self.cut()
            return
        self._queue.append((message, kind))
        self._wake.set()

    async def pump(self) -> None:
        """Send what is queued, for ever: whatever has gathered goes to the system at once."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue and not self._is_spent():
                if self._transport.is_closing():
                    return
                self._transport.write(self._taken())
                await self.response._writer.protocol._drain_helper()  # type: ignore[union-attr]
            if self._is_spent():
                self.cut()
                return

    def _taken(self) -> bytes:
        """The next frames, as many as may still be sent and go well together."""
        parts: list[bytes] = []
        size = 0
        while self._queue and size < TOGETHER and not self._is_spent():
            message, kind = self._queue.popleft()
            parts += (_frame_header(kind, len(message)), message)
            size += len(message)
            self._sent += 1
        return b"".join(parts)

    def _is_spent(self) -> bool:
        limit = self._scenario.drop_sockets_after
        return limit is not None and self._sent >= limit

    def cut(self) -> None:
        """End the connection without a word."""
        self._queue.clear()
        self._transport.abort()


def _frame_header(kind: WSMsgType, size: int) -> bytes:
    """What precedes an unmasked message that is one frame (RFC 6455, section 5.2)."""
    first = 0x80 | kind
    if size < 126:
        return struct.pack(">BB", first, size)
    return struct.pack(">BBH", first, 126, size) if size < 1 << 16 else struct.pack(">BBQ", first, 127, size)


class Sockets:
    """All connections, by client id. A second one with the same id takes over, and also goes when the first one ends."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._by_client: dict[str, Socket] = {}
        self._all: set[Socket] = set()
        self.opened = 0

    def __len__(self) -> int:
        return len(self._all)

    def send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        """Send a message to one client, or to all when there is none."""
        receivers = self._receivers(client_id)
        if receivers:
            frame = encode({"type": event, "data": data})
            for socket in receivers:
                socket.push(frame, WSMsgType.TEXT)

    def send_bytes(self, kind: int, payload: bytes, client_id: str | None) -> None:
        """Send a binary message: its kind as four bytes, then the payload."""
        frame = struct.pack(">I", kind) + payload
        for socket in self._receivers(client_id):
            socket.push(frame, WSMsgType.BINARY)

    def _receivers(self, client_id: str | None) -> Iterable[Socket]:
        if client_id is None:
            return list(self._by_client.values())
        known = isinstance(client_id, str) and client_id in self._by_client  # JSON may have brought anything
        return [self._by_client[client_id]] if known else []

    def heard(self, client_id: str | None) -> bool:
        """Whether a message for a client would reach anybody."""
        return bool(self._receivers(client_id))

    def supports(self, client_id: str | None, feature: str) -> bool:
        """Whether a client said that it understands a feature."""
        socket = self._by_client.get(client_id or "")
        return socket is not None and socket.features.get(feature) is True

    def cut_all(self) -> None:
        """End all connections without a word."""
        for socket in list(self._all):
            socket.cut()

    async def serve(self, request: web.Request, greet: Any) -> web.WebSocketResponse:
        """Handle one connection until it ends.

        Args:
            request: What asks for the WebSocket.
            greet: Called with the client id once it is registered; sends the first messages.
        """
        response = web.WebSocketResponse(compress=False)
        await response.prepare(request)
        assert request.transport is not None
        socket = Socket(response, request.transport, self._scenario)
        client_id = request.query.get("clientId", "") or uuid.uuid4().hex
        self._by_client[client_id] = socket
        self._all.add(socket)
        self.opened += 1
        pump = asyncio.create_task(socket.pump())
        try:
            greet(client_id)
            if self._scenario.drop_sockets_after == 0:
                socket.cut()
            await self._listen(socket, client_id)
        finally:
            pump.cancel()
            self._all.discard(socket)
            self._by_client.pop(client_id, None)  # also when another took over: so does the original
        return response

    async def _listen(self, socket: Socket, client_id: str) -> None:
        first = True
        async for message in socket.response:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                data = decode(message.data)
            except json.JSONDecodeError:
                continue  # leaves the next one the first, as in the original
            if first and isinstance(data, dict) and data.get("type") == "feature_flags":
                socket.features = data.get("data") or {}
                self.send("feature_flags", FEATURES, client_id)
            first = False
