"""The sandbox's own speed, over its own protocol: it must never be what another figure measures."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp

from bench.figures import AtLeast, Figure, median
from bench.job import colors as some_colors
from bench.job import tiny
from scripts.demo import serving

__all__ = ["measure"]

POSTERS = 8


def measure(quick: bool) -> list[Figure]:
    """Small jobs that share no cached result, submitted over eight connections; from the first post to the last end."""
    rounds, count = (2, 500) if quick else (5, 2000)
    with serving("sandbox", "--port", "0") as sandbox:
        asyncio.run(_rate(sandbox.url, 200))
        rates = [asyncio.run(_rate(sandbox.url, count)) for _ in range(rounds)]
    detail = {"least": min(rates), "jobs": count, "rounds": rounds}
    return [Figure("sandbox, trivial jobs", median(rates), "/s", AtLeast(500), detail)]


async def _rate(url: str, count: int) -> float:
    colors = iter(some_colors(count))
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws?clientId=bench") as socket:
        began = time.perf_counter()
        posters = [asyncio.create_task(_post(session, url, colors)) for _ in range(POSTERS)]
        await _ends(socket, count)
        seconds = time.perf_counter() - began
        await asyncio.gather(*posters)
        async with session.get(f"{url}/history") as answer:
            history = await answer.json()
    done = [entry for entry in history.values() if entry["status"]["status_str"] == "success"]
    if len(done) < min(count, len(history)):
        raise RuntimeError(f"only {len(done)} of {count} jobs succeeded")
    return count / seconds


async def _post(session: aiohttp.ClientSession, url: str, colors: Any) -> None:
    for color in colors:
        async with session.post(f"{url}/prompt", json={"prompt": tiny(color), "client_id": "bench"}) as answer:
            answer.raise_for_status()


async def _ends(socket: aiohttp.ClientWebSocketResponse, count: int) -> None:
    """Wait for so many ends. Each is an ``executing`` message with no node."""
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            content = json.loads(message.data)
            if content["type"] == "executing" and content["data"]["node"] is None:
                count -= 1
                if not count:
                    return
    raise RuntimeError(f"the sandbox closed the socket with {count} jobs to go")
