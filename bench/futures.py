"""Prompts on a real ComfyUI through the asynchronous client: one by one against its own socket, and a hundred at once."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
import uuid
import venv
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

from bench.figures import AtLeast, AtMost, Figure, median, percentile
from bench.job import colors, tiny
from bench.servers import comfyui_server
from comfyone.comfyui import AsyncComfyUIClient, create_client
from scripts import real_comfyui

__all__ = ["measure"]

LATENCY = "small prompt through the asynchronous client, against ComfyUI's own socket"
THROUGHPUT = "a hundred prompts at once, pictures fetched, against the public asynchronous client"
PACKAGE = "comfy-api-client==0.1.0"
RIVAL = Path(__file__).parent / "rival.py"
WARM_UP = 10
AT_ONCE = 100


class RivalError(RuntimeError):
    """It could not be fetched, or it failed."""


class Direct:
    """A client of ComfyUI alone, as good as it gets: kept connections, one open socket; it ends with the history entry."""

    def __init__(self, url: str) -> None:
        self._url, self._id = url, uuid.uuid4().hex

    async def __aenter__(self) -> Direct:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(f"{self._url}/ws?clientId={self._id}")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._socket.close()
        await self._session.close()

    async def run(self, color: int, *, history: bool = True) -> None:
        body = {"prompt": tiny(color), "client_id": self._id}
        async with self._session.post(f"{self._url}/prompt", json=body) as answer:
            prompt_id = (await answer.json())["prompt_id"]
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT and _is_end(json.loads(message.data), prompt_id):
                break
        if history:
            async with self._session.get(f"{self._url}/history/{prompt_id}") as answer:
                assert (await answer.json())[prompt_id]["status"]["completed"]


def _is_end(message: dict[str, Any], prompt_id: str) -> bool:
    data = message["data"]
    return message["type"] == "executing" and data["node"] is None and data.get("prompt_id") == prompt_id


def measure(quick: bool, comfyui: str | None) -> list[Figure]:
    """Latency of each kind in rounds of their own order; throughput of ours and the rival's in turn."""
    try:
        with comfyui_server(comfyui) as url:
            figures = asyncio.run(_latency(url, 30 if quick else 200))
            return [*figures, _throughput(url, 1 if quick else 3)]
    except real_comfyui.RealComfyUIError as error:
        return [Figure(LATENCY, None, detail={"why": str(error).splitlines()[0]})]


async def _latency(url: str, rounds: int) -> list[Figure]:
    times: dict[str, list[float]] = defaultdict(list)
    some = iter(colors(3 * (rounds + WARM_UP)))
    async with AsyncComfyUIClient(url=url) as client, Direct(url) as direct:
        runs: dict[str, Callable[[int], Awaitable[Any]]] = {
            "ours": lambda color: client.execute_workflow(tiny(color), timeout=60),
            "direct": direct.run,
            "direct, without its history": lambda color: direct.run(color, history=False),
        }
        for number in range(rounds + WARM_UP):
            for kind, run in random.sample(list(runs.items()), len(runs)):
                color, began = next(some), time.perf_counter()
                await run(color)
                if number >= WARM_UP:
                    times[kind].append(time.perf_counter() - began)
    return [
        _ratio(LATENCY, times, "direct", AtMost(1.1)),
        _ratio(f"{LATENCY}, the history not read there", times, "direct, without its history"),
    ]


def _ratio(name: str, times: dict[str, list[float]], other: str, target: AtMost | None = None) -> Figure:
    ours, theirs = times["ours"], times[other]
    detail = {
        "p50 ms": median(ours) * 1000,
        "direct p50 ms": median(theirs) * 1000,
        "p95 ms": percentile(ours, 95) * 1000,
        "direct p95 ms": percentile(theirs, 95) * 1000,
        "rounds": len(ours),
    }
    return Figure(name, median(ours) / median(theirs), "×", target, detail)


def _throughput(url: str, rounds: int) -> Figure:
    """The ratio of prompts per second; a round that loses a picture counts for nothing and is told."""
    some = _starts()
    try:
        python = _prepare()
        rounds_of = [(_ours(url, next(some)), _rival(python, url, next(some))) for _ in range(rounds)]
    except RivalError as error:
        return Figure(THROUGHPUT, None, detail={"why": str(error)})
    ours, theirs = (median([AT_ONCE / seconds for seconds in kind]) for kind in zip(*rounds_of, strict=True))
    detail = {"per second": ours, f"{PACKAGE} per second": theirs, "rounds": rounds}
    return Figure(THROUGHPUT, ours / theirs, "×", AtLeast(1.0), detail)


def _starts() -> Iterator[int]:
    """Where the colours of a round begin, so that no node is cached."""
    while True:
        yield random.randrange(0x1000000 - AT_ONCE)


def _ours(url: str, color: int) -> float:
    async def run() -> float:
        async with create_client(url) as client:
            began = time.perf_counter()
            prompts = await asyncio.gather(*(client.submit_workflow(tiny(color + n)) for n in range(AT_ONCE)))
            results = await asyncio.gather(*(prompt.future for prompt in prompts if prompt.future is not None))
            seconds = time.perf_counter() - began
        assert sum(len(result.output_images) for result in results) == AT_ONCE
        return seconds

    return asyncio.run(run())


def _rival(python: Path, url: str, color: int) -> float:
    line = [str(python), "-I", str(RIVAL), url, str(AT_ONCE), str(color)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RivalError(f"{PACKAGE} failed: {done.stderr.strip().splitlines()[-1]}")
    told = json.loads(done.stdout)
    if told["pictures"] != AT_ONCE:
        raise RivalError(f"{PACKAGE} gave {told['pictures']} pictures of {AT_ONCE}")
    return float(told["seconds"])


def _prepare() -> Path:
    """The interpreter of an environment that has the rival, made unless the cache has it whole."""
    name = f"{PACKAGE.replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    root = real_comfyui.cache_folder() / name
    python, stamp = root / "bin" / "python", root / ".ready"
    if not stamp.is_file():
        venv.create(root, with_pip=True, clear=True)
        line = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", PACKAGE]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise RivalError(f"{PACKAGE} could not be fetched: {done.stdout.strip().splitlines()[-1]}")
        stamp.write_text(PACKAGE)  # last: a half-made folder has no stamp
    return python
