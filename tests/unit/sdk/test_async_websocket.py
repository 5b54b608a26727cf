"""The live messages for ``async for``, against a real WebSocket server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve

from comfyone import APIError, AuthenticationError
from comfyone.api.aio.comfyone import AsyncComfyOne
from comfyone.api.aio.socket import AsyncWebSocket

from .conftest import KEY, Reply
from .conftest import Server as HTTPServer

PROGRESS = {"type": "progress", "taskId": "t", "data": {"process": 40}}
WAITING = {"type": "pendding", "taskId": "t", "data": {"current": 1}}


@dataclass
class Hub:
    connections: asyncio.Queue[ServerConnection] = field(default_factory=asyncio.Queue)
    headers: list[str | None] = field(default_factory=list)
    first_frames: list[Any] = field(default_factory=list)
    port: int = 0

    async def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.headers.append(connection.request.headers.get("Authorization"))
        self.first_frames.append(json.loads(await connection.recv()))
        self.connections.put_nowait(connection)
        await connection.wait_closed()

    async def next(self) -> ServerConnection:
        return await asyncio.wait_for(self.connections.get(), 10)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub()
    server: WebSocketServer
    async with serve(hub.handle, "127.0.0.1", 0) as server:
        hub.port = next(iter(server.sockets)).getsockname()[1]
        yield hub


@pytest.fixture
async def ws(hub: Hub) -> AsyncIterator[AsyncWebSocket]:
    async with AsyncComfyOne(KEY, f"http://127.0.0.1:{hub.port}") as client:
        client.ws.reconnect_delay = 0.05
        yield client.ws


async def test_each_message_comes_whole_after_both_forms_of_authentication(hub: Hub, ws: AsyncWebSocket) -> None:
    async with aclosing(ws.messages()) as messages:
        first = asyncio.ensure_future(anext(messages))
        connection = await hub.next()
        await connection.send("no json")
        await connection.send(b"\x00binary")
        await connection.send(json.dumps(PROGRESS))
        assert await first == PROGRESS
        assert ws.is_connected()
    assert not ws.is_connected()
    assert hub.headers == [f"Bearer {KEY}"]
    assert hub.first_frames == [{"type": "auth", "token": KEY}]


async def test_a_lost_connection_is_made_anew(hub: Hub, ws: AsyncWebSocket) -> None:
    async def speak() -> None:
        for number in range(3):
            connection = await hub.next()
            await connection.send(json.dumps({**PROGRESS, "number": number}))
            if number == 1:
                connection.transport.abort()
            else:
                await connection.close(1012)

    speaking = asyncio.create_task(speak())
    heard = []
    async for message in ws:
        heard.append(message["number"])
        if len(heard) == 3:
            await ws.close()
    await speaking
    assert heard == [0, 1, 2]


async def test_only_the_types_that_are_asked_for_come_in_either_spelling(hub: Hub, ws: AsyncWebSocket) -> None:
    async with aclosing(ws.messages("pending")) as messages:
        first = asyncio.ensure_future(anext(messages))
        connection = await hub.next()
        await connection.send(json.dumps(PROGRESS))
        await connection.send(json.dumps(WAITING))
        assert await first == WAITING


async def test_a_refused_key_ends_it_with_its_error(hub: Hub, ws: AsyncWebSocket) -> None:
    first = asyncio.ensure_future(anext(ws.messages()))
    await (await hub.next()).close(4401, "no such key")
    with pytest.raises(AuthenticationError) as caught:
        await first
    assert KEY not in f"{caught.value} {ws!r}"


async def test_a_server_without_such_a_socket_is_not_asked_for_ever(server: HTTPServer) -> None:
    server.script.extend([Reply({"msg": "no"}, 404), Reply({}, 401)])
    async with AsyncComfyOne(KEY, server.url) as client:
        for kind in ("HTTP 404", "Invalid API key"):
            with pytest.raises(APIError, match=kind):
                await anext(aiter(client.ws))
    assert len(server.seen) == 2


async def test_closing_ends_a_reading_at_once_also_while_the_server_is_away(ws: AsyncWebSocket, hub: Hub) -> None:
    ws.reconnect_delay = 600

    async def read() -> list[Any]:
        return [message async for message in ws]

    reading = asyncio.create_task(read())
    await (await hub.next()).close(1001)
    await asyncio.sleep(0.1)
    await asyncio.wait_for(ws.close(), 30)
    assert await asyncio.wait_for(reading, 30) == []
    again = asyncio.create_task(read())
    await hub.next()
    await asyncio.wait_for(ws.close(), 30)
    assert await asyncio.wait_for(again, 30) == []


async def test_a_slow_reader_makes_the_server_wait_and_holds_no_more_than_a_little(
    hub: Hub, ws: AsyncWebSocket
) -> None:
    async with aclosing(ws.messages()) as messages:
        first = asyncio.ensure_future(anext(messages))
        connection = await hub.next()
        large = json.dumps({"type": "progress", "data": "x" * 100_000})
        sent = 0
        try:
            async with asyncio.timeout(0.5):
                while sent < 1000:
                    await connection.send(large)
                    sent += 1
        except TimeoutError:
            pass
        await first
        assert sent < 200  # 100 MB would have come, had nobody waited
