"""A load generator that costs little: requests ready as bytes, connections kept open, one request at a time on each."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop

__all__ = ["Load", "post", "run"]


@dataclass
class Load:
    """What came back: seconds for each answer, seconds in all, and what the server used of the processors meanwhile."""

    connections: int
    latencies: list[float] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)
    seconds: float = 0.0
    server_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A request as bytes. The host does not matter to the servers that we measure."""
    lines = [f"POST {path} HTTP/1.1", "Host: bench", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def run(url: str, requests: list[bytes], connections: int) -> Load:
    """Send all requests over some connections, each as soon as its connection is free.

    Raises:
        RuntimeError: An answer was no success; the message shows the first.
    """
    load = uvloop.run(_run(url, requests, connections))
    if load.refused:
        raise RuntimeError(f"{len(load.refused)} requests were refused, the first with: {load.refused[0][:600]!r}")
    return load


async def _run(url: str, requests: list[bytes], connections: int) -> Load:
    load, waiting = Load(connections), iter(requests)
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    began = time.perf_counter()
    opened = [
        await loop.create_connection(lambda: _Connection(waiting, load), address.hostname or "", address.port or 80)
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.ended for _, connection in opened))
    load.seconds = time.perf_counter() - began
    return load


class _Connection(asyncio.Protocol):
    def __init__(self, waiting: Iterator[bytes], load: Load) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = waiting
        self._load = load
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self._load.latencies.append(time.perf_counter() - self._sent_at)
        if not head.startswith(b"HTTP/1.1 200"):
            self._load.refused.append(self._received)
        self._received = b""
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionResetError("the server closed the connection"))

    def _next(self) -> None:
        request = next(self._waiting, None)
        if request is None:
            self.ended.set_result(None)
            self._transport.close()
        else:
            self._sent_at = time.perf_counter()
            self._transport.write(request)


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0])
