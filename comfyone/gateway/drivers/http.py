"""HTTP/1.1 for the calls of a driver: kept connections, and little between the caller and the socket.

Every small job makes three calls, and with a general client they are what it costs most: 0.19 ms of processor time each,
0.04 here (both measured hot, over loopback). What is read is left to llhttp.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import cast
from urllib.parse import quote, urlsplit

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from comfyone.gateway.domain.evidence import Unreachable, Unsent

__all__ = ["CALL_SECONDS", "Answer", "Http", "Stream"]

CALL_SECONDS = 30.0
"""For a call, from its first byte to the last of its answer."""

CONNECT_SECONDS = 5.0
SILENT_SECONDS = 60.0
"""For which a stream may bring nothing."""

KEPT_SECONDS = 30.0
"""For which a connection is kept that nobody uses: less than any server does, so that none is closed as we take it."""

MAX_KEPT = 8
"""Connections that are kept of those that nobody uses."""

MAX_HEAD = 64 * 1024
MAX_BODY = 256 * 1024 * 1024
"""Bytes of the largest answer to a call: the object_info of large installations has some dozen megabytes."""

MAX_HELD = 1024 * 1024
"""Bytes of a stream that wait for their reader before the server is made to wait."""


class Answer(msgspec.Struct, frozen=True):
    """The answer to a call, whole."""

    status: int
    body: bytes


class Http:
    """The way to one server. Sends no cookies, follows no redirects, and uses no proxy.

    Every method raises `Unsent` when no connection could be made, and `Unreachable` when there was no whole answer.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._host = parts.hostname or ""
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = quote(parts.path.rstrip("/"), safe="/%~!$&'()*+,;=:@")
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
        self._headers = f" HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
        self._kept: list[_Connection] = []

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        seconds: float = CALL_SECONDS,
        most: int = MAX_BODY,
    ) -> Answer:
        """Sends a request, with ``body`` as JSON, and waits for all of its answer, of ``most`` bytes. One that only asks is
        repeated when it went over a kept connection that the server was just closing."""
        request = self._request(method, path, body)
        try:
            connection = await self._ask(request, lambda one: one.end(seconds, most), again=method == "GET")
        except _Closed as error:
            raise self._unanswered(method, path, error) from error
        answer = Answer(connection.status, connection.take())
        self._release(connection)
        return answer

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Stream]:
        """Asks for something whose size does not matter: it is read as it comes."""
        values = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        request = self._request("GET", f"{path}?{values}")
        try:
            connection = await self._ask(request, lambda one: one.head(SILENT_SECONDS), again=True)
            try:
                yield Stream(connection)
            finally:
                self._release(connection)
        except _Closed as error:
            raise self._unanswered("GET", path, error) from error

    def close(self) -> None:
        """Drops the connections that are kept."""
        for connection in self._kept:
            connection.close()
        self._kept.clear()

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        head = f"{method} {self._prefix}{path}{self._headers}"
        if body is None:
            return f"{head}\r\n".encode()
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def _ask(self, request: bytes, wait: Callable[[_Connection], Awaitable[None]], *, again: bool) -> _Connection:
        """Sends a request, and waits for its answer on the connection that is returned. If that had been kept and turns out
        to be closed already, so may the others: they are dropped, and what may be sent ``again`` is sent over a new one."""
        connection = self._take() or await self._connect()
        try:
            connection.send(request)
            await wait(connection)
        except BaseException as error:
            connection.close()
            if not (again and connection.outdated and isinstance(error, _Closed)):
                raise
        else:
            return connection
        self.close()
        return await self._ask(request, wait, again=False)

    def _take(self) -> _Connection | None:
        """The kept connection that was used last, if it is fresh enough. It is the least likely to have been closed."""
        while self._kept:
            connection = self._kept.pop()
            if not connection.lost and time.monotonic() - connection.used_at < KEPT_SECONDS:
                return connection
            connection.close()
        return None

    def _release(self, connection: _Connection) -> None:
        """Keeps a connection for the next call, if this one has been answered to its end and enough are not kept already."""
        if connection.reusable and len(self._kept) < MAX_KEPT:
            connection.used_at = time.monotonic()
            self._kept.append(connection)
        else:
            connection.close()

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection, self._host, self._port, ssl=_tls() if self._tls else None
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise Unsent(f"{self._url} cannot be reached: {_reason(error)}") from error
        return connection

    def _unanswered(self, method: str, path: str, error: Exception) -> Unreachable:
        return Unreachable(f"{self._url} did not answer {method} {path}: {_reason(error)}")


class Stream:
    """An answer that is read as it comes."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    @property
    def status(self) -> int:
        return self._connection.status

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            if piece := self._connection.take():
                yield piece
            elif self._connection.complete:
                return
            else:
                await self._connection.more(SILENT_SECONDS)


class _Closed(Exception):
    """The connection is gone, and the answer is not whole."""


class _Connection(asyncio.Protocol):
    """A connection, and the one answer that is under way on it."""

    def __init__(self) -> None:
        self.status = 0  # 0: the head of the answer is not there yet
        self.complete = True
        self.lost: str | None = None
        self.used_at = 0.0
        self._used = False
        self._heard = 0  # bytes of the head
        self._measured = False  # the answer says where it ends; else it does when the connection does
        self._keeps = False
        self._pieces: list[bytes] = []
        self._held = 0
        self._most = MAX_BODY
        self._paused = False
        self._streamed = False
        self._waiter: asyncio.Future[None] | None = None

    # what a caller does

    def send(self, request: bytes) -> None:
        self._used = bool(self.used_at)
        self.status, self.complete, self._heard = 0, False, 0
        self._measured = self._keeps = self._streamed = False
        self._parser = HttpResponseParser(self)
        self._transport.write(request)

    async def head(self, seconds: float) -> None:
        """Until the head of the answer is there. From then on its body waits for whoever takes it."""
        self._streamed = True
        while not self.status:
            await self._change(seconds)

    async def more(self, seconds: float) -> None:
        if not self.complete and not self._pieces:
            await self._change(seconds)

    async def end(self, seconds: float, most: int) -> None:
        """Until all of the answer is there."""
        self._most = most
        while not self.complete:
            await self._change(seconds)

    def take(self) -> bytes:
        """What has come of the body and was not taken yet."""
        pieces, self._pieces, self._held = self._pieces, [], 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def outdated(self) -> bool:
        """Whether it had been kept, and was closed before it brought anything of an answer."""
        return self._used and not self._heard and not self.status

    @property
    def reusable(self) -> bool:
        return self.complete and self._keeps and not self.lost and not self._pieces

    def close(self) -> None:
        self.lost = self.lost or "it was closed"
        self._transport.close()

    async def _change(self, seconds: float) -> None:
        """Until something has come; when nothing does in time, the connection is given up."""
        if self.lost:
            raise _Closed(self.lost)
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        late = loop.call_later(seconds, self._fail, "it took too long")
        try:
            await self._waiter
        finally:
            late.cancel()
            self._waiter = None

    # what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.complete:
            return self._fail("it sent something that nobody asked for")
        if not self.status:
            self._heard += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            return self._fail(f"it answered no HTTP that we know: {error}")
        if not self.status and self._heard > MAX_HEAD:
            return self._fail("the head of its answer is too large")
        if self._held > MAX_HELD and self._streamed and not self.complete and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if self._held > self._most:
            return self._fail("its answer is too large")
        if self.complete or self._streamed:
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        if self.status and not self._measured and not self.lost and error is None:
            self.complete = True
        self._fail(_reason(error) if error else "it closed the connection")

    def _fail(self, reason: str) -> None:
        self.lost = self.lost or reason
        self._transport.close()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # what the parser tells

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._measured = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # anything below only announces the answer
            self.status = status
            self._keeps = self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held += len(piece)

    def on_message_complete(self) -> None:
        self.complete = bool(self.status)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    with suppress(AttributeError, IndexError):
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
    return str(error) or type(error).__name__
