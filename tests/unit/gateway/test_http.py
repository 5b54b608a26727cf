"""The HTTP client of drivers, against servers that answer byte for byte what a test says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from comfyone.gateway.domain.evidence import Unreachable, Unsent
from comfyone.gateway.drivers import http
from comfyone.gateway.drivers.http import Http

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Host:
    """A server that talks as a test says, on every connection; it keeps the requests."""

    def __init__(self, talk: Talk) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = asyncio.Event()
        self.url = ""
        self._talk = talk

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._talk(reader, writer)
        self.ended.set()
        writer.close()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """The next request, whole."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        self.requests.append(head + await reader.readexactly(int(length.partition(b":")[2])))
        return self.requests[-1]


@asynccontextmanager
async def served(*pieces: bytes, pause: float = 0.0, hang_up: bool = False) -> AsyncIterator[tuple[Host, Http]]:
    """A server that answers every request with the same pieces, and the way to it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await host.request(reader)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            if hang_up:
                return

    host = Host(talk)
    async with hosted(host) as way:
        yield host, way


@asynccontextmanager
async def hosted(host: Host, prefix: str = "") -> AsyncIterator[Http]:
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    host.url = "http://{}:{}".format(*server.sockets[0].getsockname()) + prefix
    way = Http(host.url)
    try:
        yield way
    finally:
        way.close()
        server.close()


async def streamed(way: Http) -> bytes:
    async with way.stream("/view", {}) as answer:
        return b"".join([chunk async for chunk in answer.chunks()])


async def test_calls_share_a_connection() -> None:
    async with served(OK) as (host, way):
        for _ in range(3):
            answer = await way.call("GET", "/queue")
            assert (answer.status, answer.body) == (200, b"ok")
        assert host.connections == 1


async def test_calls_at_the_same_time_have_each_their_own() -> None:
    async with served(OK, pause=0.05) as (host, way):
        answers = await asyncio.gather(*(way.call("GET", f"/{number}") for number in range(5)))
        assert [answer.body for answer in answers] == [b"ok"] * 5
        await way.call("GET", "/")
        assert host.connections == 5


async def test_of_many_connections_few_are_kept() -> None:
    open_ = set[asyncio.StreamWriter]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.add(writer)
        try:
            while True:
                await host.request(reader)
                await asyncio.sleep(0.1)  # until all have asked
                writer.write(OK)
        finally:
            open_.discard(writer)

    host = Host(talk)
    async with hosted(host) as way:
        await asyncio.gather(*(way.call("GET", f"/{number}") for number in range(3 * http.MAX_KEPT)))
        async with asyncio.timeout(30):
            while len(open_) > http.MAX_KEPT:  # noqa: ASYNC110  the other side closes them
                await asyncio.sleep(0.01)
        assert host.connections == 3 * http.MAX_KEPT
        assert len(open_) == http.MAX_KEPT


async def test_what_is_sent_is_plain() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await host.request(reader)
        writer.write(OK)

    host = Host(talk)
    async with hosted(host, "/comfy ui/é") as way:
        await way.call("POST", "/prompt", b'{"a":1}')
    head, _, body = host.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /comfy%20ui/%C3%A9/prompt HTTP/1.1"
    assert f"Host: {host.url.split('/')[2]}".encode() in lines
    assert b"Content-Type: application/json" in lines
    assert b"Content-Length: 7" in lines
    assert body == b'{"a":1}'


@pytest.mark.parametrize(
    "pieces",
    [
        [bytes([byte]) for byte in OK],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\n", b"k\r\n0\r\n\r\n"],
        [b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", OK],
    ],
)
async def test_an_answer_is_read_however_it_comes(pieces: list[bytes]) -> None:
    async with served(*pieces, pause=0.001) as (host, way):
        for _ in range(2):
            assert (await way.call("GET", "/")).body == b"ok"
        assert host.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_is_done_with_is_not_used_again(answer: bytes) -> None:
    async with served(answer, hang_up=True) as (host, way):
        for _ in range(2):
            assert (await way.call("GET", "/")).body == b"ok"
        assert host.connections == 2


async def test_an_answer_without_a_body_keeps_the_connection() -> None:
    async with served(b"HTTP/1.1 204 No Content\r\n\r\n") as (host, way):
        for _ in range(2):
            assert (await way.call("POST", "/free", b"{}")).status == 204
        assert host.connections == 1


async def test_a_question_over_a_connection_that_was_just_closed_is_asked_again() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await host.request(reader)
        writer.write(OK)
        if host.connections == 1:
            await reader.read(1)  # the next request begins, and finds the server gone

    host = Host(talk)
    async with hosted(host) as way:
        await way.call("GET", "/first")
        assert (await way.call("GET", "/second")).body == b"ok"
        assert host.connections == 2


async def test_what_changes_something_is_never_sent_twice() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await host.request(reader)
        writer.write(OK)
        await host.request(reader)

    host = Host(talk)
    async with hosted(host) as way:
        await way.call("GET", "/first")
        with pytest.raises(Unreachable, match="POST /prompt") as raised:
            await way.call("POST", "/prompt", b"{}")
        assert not isinstance(raised.value, Unsent)
        assert [request.split()[1] for request in host.requests] == [b"/first", b"/prompt"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "no HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "HTTP|closed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "head of its answer is too large"),
    ],
)
async def test_what_is_no_whole_answer_is_none(answer: bytes, reason: str) -> None:
    async with served(answer, hang_up=True) as (host, way):
        with pytest.raises(Unreachable, match=reason) as raised:
            await way.call("GET", "/queue")
        assert f"{host.url} did not answer GET /queue" in raised.value.message


async def test_a_second_answer_spoils_the_connection_and_not_the_first() -> None:
    async with served(OK + OK) as (host, way):
        for _ in range(2):
            assert (await way.call("GET", "/")).body == b"ok"
        assert host.connections == 2


async def test_what_comes_unasked_on_a_kept_connection_spoils_it() -> None:
    async with served(OK, b"more", pause=0.02) as (host, way):
        await way.call("GET", "/")
        await host.ended.wait()
        assert (await way.call("GET", "/")).body == b"ok"
        assert host.connections == 2


async def test_nobody_there_means_that_nothing_was_sent() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    url = "http://{}:{}".format(*server.sockets[0].getsockname())
    server.close()
    await server.wait_closed()
    with pytest.raises(Unsent, match=f"{url} cannot be reached"):
        await Http(url).call("POST", "/prompt", b"{}")
    with pytest.raises(Unsent):
        await Http("http://no-such-host.invalid").call("GET", "/")


async def test_an_answer_that_takes_too_long_is_given_up_and_its_connection_too() -> None:
    async with served(OK[:-1], b"k", pause=0.2) as (host, way):
        with pytest.raises(Unreachable, match="took too long"):
            await way.call("GET", "/", seconds=0.05)
        assert (await way.call("GET", "/")).body == b"ok"
        assert host.connections == 2


async def test_a_call_that_is_cancelled_leaves_no_half_answer_for_the_next() -> None:
    async with served(OK, pause=0.05) as (host, way):
        call = asyncio.ensure_future(way.call("GET", "/"))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert (await way.call("GET", "/")).body == b"ok"
        assert host.connections <= 2


async def test_a_connection_that_lay_idle_too_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(OK) as (host, way):
        await way.call("GET", "/")
        monkeypatch.setattr(http, "KEPT_SECONDS", 0.0)
        await way.call("GET", "/")
        assert host.connections == 2


async def test_an_answer_to_a_call_is_bounded() -> None:
    async with served(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 101) as (_, way):
        with pytest.raises(Unreachable, match="too large"):
            await way.call("GET", "/", most=100)


async def test_a_stream_makes_the_server_wait_for_its_reader() -> None:
    size, sent = 64 * 1024 * 1024, 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await host.request(reader)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        while sent < size:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536
        await host.request(reader)
        writer.write(OK)

    host = Host(talk)
    async with hosted(host) as way:
        async with way.stream("/view", {"filename": "a b.png", "type": "output"}) as answer:
            assert answer.status == 200
            chunks = answer.chunks()
            read = len(await anext(chunks))
            await asyncio.sleep(0.2)
            assert sent < 16 * 1024 * 1024, "the server was not made to wait"
            async for chunk in chunks:
                read += len(chunk)
        assert read == size
        assert (await way.call("GET", "/")).body == b"ok"
        assert host.connections == 1
    assert host.requests[0].startswith(b"GET /view?filename=a%20b.png&type=output HTTP/1.1\r\n")


async def test_a_stream_that_is_left_closes_its_connection() -> None:
    async with served(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50) as (host, way):
        async with way.stream("/view", {}) as answer:
            assert await anext(answer.chunks()) == b"x" * 50
        async with way.stream("/view", {}) as answer:
            assert await anext(answer.chunks()) == b"x" * 50
        assert host.connections == 2


async def test_a_stream_that_breaks_off_is_no_file() -> None:
    async with served(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", hang_up=True) as (_, way):
        with pytest.raises(Unreachable, match="GET /view"):
            await streamed(way)


async def test_a_stream_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SILENT_SECONDS", 0.1)
    async with served(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") as (_, way):
        with pytest.raises(Unreachable, match="took too long"):
            await streamed(way)


async def test_an_answer_without_a_length_is_not_whole_when_its_connection_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        at_once = struct.pack("ii", 1, 0)  # no farewell: the other side sees a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.transport.abort()

    async with hosted(Host(reset)) as way:
        with pytest.raises(Unreachable, match="reset"):
            await streamed(way)
    monkeypatch.setattr(http, "SILENT_SECONDS", 0.1)
    async with served(b"HTTP/1.1 200 OK\r\n\r\nhalf") as (_, way):
        with pytest.raises(Unreachable, match="took too long"):
            await streamed(way)


async def test_a_stream_without_a_length_ends_with_its_connection() -> None:
    async with served(b"HTTP/1.1 200 OK\r\n\r\nall of it", hang_up=True) as (_, way):
        assert await streamed(way) == b"all of it"
