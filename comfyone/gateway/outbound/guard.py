"""Requests to addresses that a tenant has named, and to nothing that they could reach only through us.

What is checked is the address that a socket is about to be connected to: there is no second look-up in between, and no
spelling of an address that would slip through.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from comfyone.gateway.domain.addresses import AddressRefused, Network, check_address, may_call
from comfyone.gateway.domain.evidence import Unreachable
from comfyone.gateway.outbound.resolver import Closed, PublicResolver, ThreadResolver
from comfyone.gateway.ports import Reply
from comfyone.transport.answers import retry_after

__all__ = ["Guard", "open_guard"]

CHUNK = 256 * 1024
MAX_REDIRECTS = 3
CONNECT_SECONDS = 5.0
POST_SECONDS = 15.0
FETCH_SECONDS = 30.0
MAX_CONNECTIONS = 256
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_POST = aiohttp.ClientTimeout(total=POST_SECONDS, connect=CONNECT_SECONDS)
_FETCH = aiohttp.ClientTimeout(total=FETCH_SECONDS, connect=CONNECT_SECONDS)


class Guard:
    """See `comfyone.gateway.ports.Outbound`."""

    def __init__(self, session: aiohttp.ClientSession, resolver: AbstractResolver, opened: Sequence[Network]) -> None:
        self._session = session
        self._resolver = resolver
        self._opened = opened

    async def check(self, url: str) -> None:
        target = _target(url)
        host = target.raw_host or ""
        if may_call(host, self._opened):
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._resolver.resolve(host, target.port or 0)
        except OSError:  # an address that is closed, a name that nobody knows, or a time-out
            raise _refused(target) from None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        async with self._request("POST", _target(url), _POST, data=body, headers=headers) as response:
            return Reply(response.status, retry_after(response.headers))

    async def fetch(self, url: str) -> AsyncGenerator[bytes, None]:
        target = _target(url)
        for _ in range(MAX_REDIRECTS + 1):
            async with self._request("GET", target, _FETCH, headers={"Accept-Encoding": "identity"}) as response:
                if response.status == 200:
                    async for chunk in response.content.iter_chunked(CHUNK):
                        yield chunk
                    return
                target = _next(target, response)
        raise Unreachable(f"'{target.raw_host}' redirects more than {MAX_REDIRECTS} times")

    @asynccontextmanager
    async def _request(
        self, method: str, target: URL, timeout: aiohttp.ClientTimeout, **options: object
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(
                method,
                target,
                timeout=timeout,
                allow_redirects=False,
                **options,  # type: ignore[arg-type]
            ) as response:
                yield response
        except aiohttp.ClientConnectorError as error:
            if isinstance(getattr(error, "os_error", None), Closed):
                raise _refused(target) from None
            how = "securely " if isinstance(error, aiohttp.ClientSSLError) else ""
            raise Unreachable(f"'{target.raw_host}' cannot be connected to {how}".rstrip()) from None
        except aiohttp.InvalidURL:
            raise _refused(target) from None
        except TimeoutError:
            raise Unreachable(f"'{target.raw_host}' did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"'{target.raw_host}' broke off: {type(error).__name__}") from None


@asynccontextmanager
async def open_guard(
    opened: Sequence[Network], version: str, resolver: AbstractResolver | None = None
) -> AsyncIterator[Guard]:
    """The guard of a process. ``opened`` are the networks that may be called although they are not public."""

    def new_socket(info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        family, kind, protocol, _, address = info
        if not may_call(str(address[0]), opened):  # addresses that were given as such are resolved by nobody
            raise Closed
        return socket.socket(family, kind, protocol)

    public = PublicResolver(resolver or ThreadResolver(), opened)
    connector = aiohttp.TCPConnector(
        resolver=public,
        socket_factory=new_socket,
        use_dns_cache=False,
        limit=MAX_CONNECTIONS,
        keepalive_timeout=15,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,  # or a small answer could grow without end
        headers={"User-Agent": f"comfyone/{version}"},
    ) as session:
        yield Guard(session, public, opened)


def _target(url: str) -> URL:
    try:
        return URL(
            check_address(url), encoded=url.isascii()
        )  # signed addresses must stay as they are, letter by letter
    except ValueError:
        raise AddressRefused("the address is not a URL", hint="such as https://example.com/hook") from None


def _next(target: URL, response: aiohttp.ClientResponse) -> URL:
    location = response.headers.get("Location")
    if response.status not in _REDIRECTS or not location:
        raise Unreachable(f"'{target.raw_host}' answered with {response.status}")
    try:
        return _target(str(target.join(URL(location, encoded=location.isascii()))))
    except ValueError:
        raise Unreachable(f"'{target.raw_host}' redirects to what is no URL") from None


def _refused(target: URL) -> AddressRefused:
    return AddressRefused(
        f"'{target.raw_host}' has no address that may be called",
        hint="name a public address, or ask the operator to open its network (allow_private)",
    )
