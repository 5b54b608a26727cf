"""Looking up the hosts that tenants name."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from comfyone.gateway.domain.addresses import Network, may_call

__all__ = ["Closed", "PublicResolver", "ThreadResolver"]

THREADS = 16
"""Look-ups at a time. One that nobody answers takes seconds and cannot be called off, so they keep out of the way of all
else that needs a thread."""

Found = list[Any]
"""What `socket.getaddrinfo` gives."""


class Closed(OSError):
    """An IP address that is not to be called."""


class ThreadResolver(AbstractResolver):
    """The system's own resolver, in threads that do not keep the process from ending."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(THREADS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()
        arguments = (loop, answer, host, port, family)
        threading.Thread(target=self._look_up, args=arguments, name="comfyone-resolver", daemon=True).start()
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, _, protocol, _, address in await answer
        ]

    def _look_up(
        self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Found], host: str, port: int, family: int
    ) -> None:
        try:
            found: Found | OSError = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: a part of the name that is empty or too long
            found = OSError(str(error))
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._answer, answer, found)

    def _answer(self, answer: asyncio.Future[Found], found: Found | OSError) -> None:
        self._places.release()
        if answer.cancelled():
            return
        if isinstance(found, OSError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    async def close(self) -> None:
        pass


class PublicResolver(AbstractResolver):
    """Gives those addresses of a host that may be called."""

    def __init__(self, resolver: AbstractResolver, opened: Sequence[Network]) -> None:
        self._resolver = resolver
        self._opened = opened

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises `Closed` when there is none."""
        found = await self._resolver.resolve(host, port, family)
        public = [result for result in found if may_call(result["host"], self._opened)]
        if not public:
            raise Closed
        return public

    async def close(self) -> None:
        await self._resolver.close()
