"""Server-sent events (WHATWG HTML, 9.2), with a comment line now and then so that no proxy takes silence for death."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.responses import StreamingResponse

__all__ = ["event_stream"]

KEEP_ALIVE = 15.0

Event = tuple[int | None, str, bytes]


def event_stream(events: AsyncIterator[Event], until: Callable[[], Awaitable[None]]) -> StreamingResponse:
    """An answer that streams ``(number, type, data)`` until there is no more, or ``until`` returns. Events without a
    number have no ``id:`` line, so a client that resumes names the last one that is kept."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_lines(events, until), media_type="text/event-stream", headers=headers)


async def _lines(events: AsyncIterator[Event], until: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
    upcoming: asyncio.Future[Event] = asyncio.ensure_future(anext(events))
    lapsed: asyncio.Future[Any] = asyncio.ensure_future(until())
    try:
        while True:
            awaited: list[asyncio.Future[Any]] = [upcoming, lapsed]
            done, _ = await asyncio.wait(awaited, timeout=KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED)
            if lapsed in done:
                return
            if not done:
                yield b": still here\n\n"
                continue
            try:
                number, kind, data = upcoming.result()
            except StopAsyncIteration:
                return
            identity = b"" if number is None else b"id: %d\n" % number
            yield b"%bevent: %b\ndata: %b\n\n" % (identity, kind.encode(), data)
            upcoming = asyncio.ensure_future(anext(events))
    finally:
        upcoming.cancel()
        lapsed.cancel()
        await asyncio.gather(upcoming, lapsed, return_exceptions=True)
        await events.aclose()  # type: ignore[attr-defined]
