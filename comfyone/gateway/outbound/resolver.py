"""Looking up the hosts that tenants name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

from comfyone.gateway.domain.addresses import Network, may_call

__all__ = ["Closed", "PublicResolver", "ThreadResolver"]

THREADS = 16
"""Look-ups at a time: one that nobody answers takes seconds and cannot be called off, so they have threads of their own."""


class Closed(OSError):
    """An IP address that is not to be called."""


class ThreadResolver(AbstractResolver):
    """The system's own resolver."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "comfyone-resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


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
