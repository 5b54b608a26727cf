"""What the asynchronous door meets in sockets, proxies and headers: nothing escapes untranslated, nothing takes long."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import requests

from comfyone import ConnectionError
from comfyone.transport import aio
from comfyone.transport.aio import AsyncTransport
from comfyone.transport.call import Call, Timeouts, Upload
from comfyone.transport.endpoint import Credentials, Endpoint, Headers
from comfyone.transport.retry import RetryPolicy
from comfyone.transport.surroundings import surroundings
from comfyone.utils.files import in_thread
from comfyone.utils.logging import default_logger

from .conftest import FAST, Server

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def a_transport(
    url: str, timeout: float | tuple[float, float] = 5, credentials: Credentials | None = None
) -> AsyncTransport:
    who = credentials or Headers()
    return AsyncTransport(Endpoint.parse(url), who, Timeouts.parse(timeout), FAST, default_logger())


@asynccontextmanager
async def listening(handle: Handler) -> AsyncIterator[str]:
    async with await asyncio.start_server(handle, "127.0.0.1", 0, limit=1024) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.read(4096):
            pass
    finally:
        writer.close()


async def test_a_socket_that_breaks_under_its_first_frame_is_a_connection_error() -> None:
    async def upgrade_and_go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        key = next(line.split(b": ")[1] for line in head if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        writer.write(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
        writer.write(accept + b"\r\n\r\n")
        await reader.read(1024)
        writer.transport.abort()

    async with listening(upgrade_and_go) as url, a_transport(url) as transport:
        with pytest.raises(ConnectionError, match="GET ws") as caught:
            async with transport.socket(Call("GET", "ws"), "x" * 50_000_000):
                pass
    assert caught.value.context == {"sent": True}


@pytest.mark.parametrize(("timeout", "read"), [((0.1, 60.0), 0.2), ((0.1, 0.2), None)])
async def test_a_socket_whose_handshake_is_not_answered_is_given_up_in_time(
    timeout: tuple[float, float], read: float | None
) -> None:
    started = time.monotonic()
    async with listening(mute) as url, a_transport(url, timeout) as transport:
        with pytest.raises(ConnectionError, match="no answer in time"):
            async with transport.socket(Call("GET", "ws", read_timeout=read), "hello"):
                pass
    assert time.monotonic() - started < 10


async def test_a_proxy_that_never_says_whether_it_got_through_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    async with listening(mute) as url, a_transport("https://gateway.test", (0.3, 60)) as transport:
        transport.policy = RetryPolicy(attempts=1)
        monkeypatch.setenv("https_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(ConnectionError, match="no connection in time"):
            await transport.send(Call("GET", "v1/workflows"))
    assert time.monotonic() - started < 20


async def test_header_fields_of_one_name_are_one_however_they_are_written(server: Server) -> None:
    who = Headers({"authorization": "Basic one", "x-team": "a"}).joined(Headers({"Authorization": "Bearer two"}))
    call = Call(
        "POST", "v1/prompts", json={}, headers={"AUTHORIZATION": "none", "user-agent": "own", "content-type": "x/y"}
    )
    async with a_transport(server.url, credentials=who) as transport:
        await transport.send(call)
    sent = [(name.lower(), value) for name, value in server.seen[0].headers.items()]
    expected = {
        "authorization": "Bearer two",
        "x-team": "a",
        "user-agent": "own",
        "content-type": "application/json",
    }
    assert {name: [value for each, value in sent if each == name] for name in expected} == {
        name: [value] for name, value in expected.items()
    }


async def test_what_is_in_memory_is_sent_without_a_thread_for_each_piece(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    hops: list[Any] = []

    async def counted(work: Callable[..., Any], *arguments: object) -> Any:
        hops.append(work)
        return await in_thread(work, *arguments)

    monkeypatch.setattr(aio, "in_thread", counted)
    async with a_transport(server.url) as transport:
        await transport.send(Call("POST", "v1/prompts", json={"text": "x" * 1_000_000}))
        assert not hops
        content = b"x" * 1_000_000
        await transport.send(Call("POST", "v1/files", upload=Upload.of(content, "a.bin")))
    assert len(hops) == 1  # where the form is made, whatever the source
    assert content in server.seen[1].body


def test_certificates_are_looked_at_whatever_the_environment_seems_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {"proxies": {}, "verify": None}
    monkeypatch.setattr(requests.Session, "merge_environment_settings", lambda *arguments: told)
    assert surroundings("https://nobody-else-asks-for-this.test/").verify is True
