"""The asynchronous door: it sends calls with aiohttp, and no failure of aiohttp gets past it untranslated."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import lru_cache
from io import BytesIO
from typing import Any, TypeVar

import aiohttp
import tenacity
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from yarl import URL

from comfyone.errors import APIError, ComfyOneError, ValidationError
from comfyone.transport.answers import V1_FAULTS, Answer, Faults
from comfyone.transport.call import Call, Multipart, Timeouts, Upload
from comfyone.transport.decisions import (
    ERROR_LIMIT,
    Hop,
    Trouble,
    body_of,
    causes,
    check_kind,
    first_hop,
    headers_of,
    moved,
    next_hop,
    no_tls,
    refusal,
    shown,
)
from comfyone.transport.endpoint import Credentials, Endpoint
from comfyone.transport.retry import RetryPolicy, after, repetition
from comfyone.transport.surroundings import surroundings
from comfyone.utils.files import in_thread
from comfyone.utils.logging import Log
from comfyone.wire.v1 import APIResponse

__all__ = ["AsyncTransport"]

_CONNECTIONS = 500
_PIECE = 1 << 16  # bytes of a body that are sent or read at once
_FAREWELL = 1.0  # seconds for a server to answer when we close a WebSocket
Result = TypeVar("Result")


class AsyncTransport:
    """Sends calls to one server under one set of credentials, from one event loop. See `Transport` for the arguments.

    Its connections are made inside the loop that uses it first, and end with `close`; from then on it may be used in another.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        timeouts: Timeouts,
        policy: RetryPolicy,
        log: Log,
        *,
        faults: Faults = V1_FAULTS,
    ) -> None:
        self.endpoint = endpoint
        self.policy = policy
        self.timeouts = timeouts
        self._credentials = credentials
        self._log = log
        self._faults = faults
        self._sessions: tuple[aiohttp.ClientSession, aiohttp.ClientSession] | None = None
        self._ways: dict[str, dict[str, Any]] = {}  # asking the environment takes a fifth of the time of a call
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed_in: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"AsyncTransport({self.endpoint.base_url!r})"

    async def __aenter__(self) -> AsyncTransport:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Whatever still uses one of them fails."""
        sessions, self._sessions, self._closed_in = self._sessions, None, asyncio.get_running_loop()
        for session in sessions or ():
            await session.close()

    async def exchange(self, call: Call, *, attempts: int | None = None) -> Answer:
        """Send a call and read its answer; ``attempts`` stands in for the policy's.

        Raises:
            APIError: The HTTP status is an error, or no answer came. Which kind, the faults decide.
            ValidationError: The call is none that can be sent.
        """

        async def once() -> Answer:
            attempt = _Attempt()
            try:
                answer = await self._answered(call, attempt)
                with self._translated(call):
                    return Answer(answer.status, answer.headers, await answer.read())
            finally:
                attempt.close()

        return await self._repeat(call, once, attempts)

    async def send(self, call: Call, *, attempts: int | None = None) -> APIResponse:
        """Send a call and read its envelope, whatever its code.

        Raises:
            APIError: As `exchange`, or the body is no envelope.
        """
        return (await self.exchange(call, attempts=attempts)).envelope()

    async def download(self, call: Call, write: Callable[[AsyncIterator[bytes]], Awaitable[Result]]) -> Result:
        """Send a call and hand the pieces of its body to ``write``, which must start afresh when called again."""

        async def once() -> Result:
            async with self.stream(call) as pieces:
                return await write(pieces)

        return await self._repeat(call, once)

    @asynccontextmanager
    async def stream(self, call: Call, *, live: bool = False) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send a call once and give its body in pieces; ``live`` gives each byte as soon as it is there."""
        attempt = _Attempt()
        try:
            answer = await self._answered(call, attempt)
            check_kind(call, answer.status, answer.headers, self._faults)
            yield self._pieces(call, answer, live)
        finally:
            attempt.close()

    @asynccontextmanager
    async def socket(
        self, call: Call, greeting: str, *, largest: int = 0, heartbeat: float | None = None
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket, once, without following redirects, which could take the credentials elsewhere.

        Args:
            call: Where to; a path below the base address. Its read timeout, or else the client's, limits the handshake
                alone: an open socket may be silent.
            greeting: The first frame, which we send.
            largest: Bytes of a message at most; 0 sets no limit.
            heartbeat: Seconds between pings; a server that answers none is taken for lost.

        Raises:
            APIError: The server refused, or there is no connection. What breaks later, aiohttp tells by its messages.
        """
        hop = first_hop(self.endpoint, call)
        headers = headers_of(call, hop, self._credentials, None)
        with self._translated(call):
            async with asyncio.timeout(self.timeouts.connect + (call.read_timeout or self.timeouts.read)):
                opened = await self._opened()[1].ws_connect(
                    URL(hop.url, encoded=True),
                    headers=headers,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_FAREWELL),
                    max_msg_size=largest,
                    heartbeat=heartbeat,
                    **self._way(hop),
                )
        try:
            with self._translated(call):
                await opened.send_str(greeting)
            yield opened
        finally:
            await opened.close()

    async def _repeat(self, call: Call, once: Callable[[], Awaitable[Result]], attempts: int | None = None) -> Result:
        try:
            return await once()
        except APIError as error:
            resumed = after(error, once)

        async def again() -> Result:
            return await resumed()

        return await tenacity.AsyncRetrying(**repetition(call, self.policy, attempts, self._log))(again)

    async def _answered(self, call: Call, attempt: _Attempt) -> aiohttp.ClientResponse:
        """One attempt, redirects included: the answer, its body unread."""
        started = time.monotonic()
        hop = first_hop(self.endpoint, call)
        while True:
            answer = await self._hop(call, hop, attempt)
            if not moved(answer.status, answer.headers):
                break
            attempt.close()
            hop = next_hop(self.endpoint, call, hop, answer.status, answer.headers, self._faults)
        self._log.debug(f"{shown(call)}: HTTP {answer.status} in {(time.monotonic() - started) * 1000:.0f} ms")
        await self._check(call, answer)
        return answer

    async def _hop(self, call: Call, hop: Hop, attempt: _Attempt) -> aiohttp.ClientResponse:
        timeouts = call.timeouts(self.timeouts)
        form = await attempt.take(call.upload) if call.upload else None
        headers = headers_of(call, hop, self._credentials, form)
        body = _Body(form if form is not None else body_of(call), timeouts)
        with self._translated(call):
            (session, _), way = self._opened(), self._way(hop)
            async with body.patience() if body.headers else nullcontext():
                attempt.answer = await session.request(
                    call.method,
                    URL(hop.url, encoded=True),
                    data=body.data,
                    headers={**headers, **body.headers},
                    timeout=_patience(timeouts.connect, timeouts.read, way["proxy"] is not None),
                    allow_redirects=False,
                    **way,
                )
        return attempt.answer

    def _way(self, hop: Hop) -> dict[str, Any]:
        """Proxy and certificates, as the environment had them when the first call went there. A .netrc has no say."""
        place = "/".join(hop.url.split("/", 3)[:3])
        if place not in self._ways:
            self._ways[place] = self._way_to(hop)
        return self._ways[place]

    def _way_to(self, hop: Hop) -> dict[str, Any]:
        around = surroundings(hop.url)
        proxy = around.proxy(hop.url)
        if proxy is not None and not proxy.startswith(("http://", "https://")):
            hint = "use ComfyOne and its kind, which block, or a proxy that speaks HTTP"
            raise ValidationError("the proxy of the environment is none that an asynchronous client can use", hint=hint)
        return {"proxy": proxy, "ssl": _tls(around.verify) if hop.url.startswith("https") else True}

    def _opened(self) -> tuple[aiohttp.ClientSession, aiohttp.ClientSession]:
        """The sessions for calls and for WebSockets, which share their connections."""
        loop = asyncio.get_running_loop()
        if self._closed_in is loop:  # what is tried again after that must open nothing, which nobody would close
            raise ComfyOneError(f"{self!r} is closed", hint="make a new one")
        if self._sessions is None:
            connector, jar = aiohttp.TCPConnector(limit=_CONNECTIONS), aiohttp.DummyCookieJar()
            calls = aiohttp.ClientSession(connector=connector, cookie_jar=jar)
            calls._retry_connection = False  # how often something is sent, our policy alone decides
            sockets = aiohttp.ClientSession(
                connector=connector, connector_owner=False, cookie_jar=jar, middlewares=[_stay]
            )
            self._sessions, self._ways, self._loop = (calls, sockets), {}, loop
        elif self._loop is not loop:
            raise ComfyOneError(
                f"{self!r} is used in another event loop", hint="make one for each loop, and close it there"
            )
        return self._sessions

    async def _check(self, call: Call, answer: aiohttp.ClientResponse) -> None:
        if answer.status < 300:
            return
        content = b""
        with self._translated(call):
            async for piece in answer.content.iter_any():
                content += piece
                if len(content) >= ERROR_LIMIT:
                    break
        raise refusal(answer.status, answer.headers, content, self._faults, self._credentials)

    async def _pieces(self, call: Call, answer: aiohttp.ClientResponse, live: bool) -> AsyncIterator[bytes]:
        with self._translated(call):
            async for piece in answer.content.iter_any() if live else answer.content.iter_chunked(_PIECE):
                yield piece

    @contextmanager
    def _translated(self, call: Call) -> Iterator[None]:
        """The one door where failures of aiohttp become ours."""
        try:
            yield
        except aiohttp.InvalidURL as error:
            raise ValidationError(f"{shown(call)}: not an address that can be called") from error
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise self._unanswered(call, error) from error

    def _unanswered(self, call: Call, error: Exception) -> APIError | ComfyOneError:
        chain = list(causes(error))
        ours = next((cause for cause in chain if isinstance(cause, ComfyOneError)), None)
        if ours is not None:  # what went wrong with the body while it was sent
            return ours
        if isinstance(error, aiohttp.WSServerHandshakeError):
            if error.status < 300:
                message = f"{shown(call)}: what answers there is no WebSocket"
                return self._faults.unexpected(error.status, message, status=error.status)
            return refusal(error.status, error.headers or {}, b"", self._faults, self._credentials)
        trouble = _trouble(error, chain)
        return trouble.error(call, self._faults, _said(error) if trouble is Trouble.REFUSED else None)


@lru_cache(maxsize=64)
def _patience(connect: float, read: float, proxied: bool) -> aiohttp.ClientTimeout:
    # A proxy may take our connection and never say whether it got through. Without one the connection is all there is
    # to wait for, and waiting for a free one of ours is no failure of the server's.
    whole = connect if proxied else None
    return aiohttp.ClientTimeout(total=None, connect=whole, sock_connect=connect, sock_read=read)


class _Attempt:
    """What one attempt has opened: the file that it sends, and the answer."""

    def __init__(self) -> None:
        self.answer: aiohttp.ClientResponse | None = None
        self._forms: list[Multipart] = []

    async def take(self, upload: Upload) -> Multipart:
        """The form of an upload, which is ours to close even when we are cancelled while its file is being opened."""
        await in_thread(lambda: self._forms.append(Multipart(upload)))
        return self._forms[-1]

    def close(self) -> None:
        """The answer before the file, which may still be on its way."""
        if self.answer is not None:
            self.answer.release()
            self.answer = None
        while self._forms:
            self._forms.pop().close()


class _Body:
    """The body of a request, sent in pieces where it is large, and what limits how long that may take."""

    def __init__(self, content: Multipart | bytes | None, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._patience: asyncio.Timeout | None = None
        self.data: bytes | AsyncIterator[bytes] | None = None
        self.headers: dict[str, str] = {}
        if isinstance(content, Multipart) or (content is not None and len(content) > _PIECE):
            self.data, self.headers = self._pieces(content), {"Content-Length": str(len(content))}
        else:
            self.data = content

    @asynccontextmanager
    async def patience(self) -> AsyncIterator[None]:
        """Until the answer begins: a server that takes no more of the body for too long is given up."""
        async with asyncio.timeout(None) as self._patience:
            try:
                yield
            finally:
                self._patience = None

    async def _pieces(self, content: Multipart | bytes) -> AsyncIterator[bytes]:
        source = content if isinstance(content, Multipart) else BytesIO(content)
        in_memory = isinstance(source, BytesIO) or source.in_memory
        while piece := source.read(_PIECE) if in_memory else await in_thread(source.read, _PIECE):
            self._more(self._timeouts.connect)
            yield piece
        self._more(self._timeouts.connect + self._timeouts.read)

    def _more(self, seconds: float) -> None:
        # The answer may begin while the body is still on its way; then it is the answer that is waited for.
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + seconds)


async def _stay(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """No WebSocket is looked for elsewhere: aiohttp would follow, and take the credentials along."""
    answer = await handler(request)
    if "Upgrade" in request.headers and answer.status in range(300, 400):
        answer.close()
        raise aiohttp.WSServerHandshakeError(
            answer.request_info, (), status=answer.status, headers=answer.headers, message="redirected"
        )
    return answer


@lru_cache(maxsize=8)
def _tls(verify: bool | str) -> ssl.SSLContext:
    """The certificates to trust: those that requests trusts, so that both colours trust the same."""
    place = DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify)
    if os.path.isdir(place):
        return ssl.create_default_context(capath=place)
    return ssl.create_default_context(cafile=place)


def _trouble(error: Exception, chain: list[BaseException]) -> Trouble:
    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in chain)

    if has(ssl.SSLCertVerificationError):
        return Trouble.CERTIFICATE
    if no_tls(chain):
        return Trouble.NO_TLS
    if has(aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError):
        return Trouble.PROXY
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Trouble.CONNECT_TIMEOUT
    if isinstance(error, aiohttp.ClientConnectorError) and not has(ssl.SSLError):
        return Trouble.REFUSED
    if isinstance(error, TimeoutError):
        return Trouble.READ_TIMEOUT
    if isinstance(error, aiohttp.ClientResponseError):
        return Trouble.NO_HTTP
    return Trouble.BROKEN


def _said(error: Exception) -> str | None:
    """What the operating system said; asyncio puts words of its own in its place."""
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(reason, socket.gaierror):
        return str(reason.strerror).lower()
    return os.strerror(reason.errno).lower() if isinstance(reason, OSError) and reason.errno else None
