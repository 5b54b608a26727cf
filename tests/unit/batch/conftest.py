"""Sandboxes, and queues of both colours over them, which tests speak to in the same words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, TypeAlias

import pytest
from loguru import logger

from comfyone.batch.aio import AsyncQueueManager
from comfyone.batch.queue import QueueManager
from comfyone.batch.running import run, run_async
from comfyone.comfyui.aio import AsyncComfyUIClient
from comfyone.comfyui.client import ComfyUIClient
from comfyone.comfyui.tracking import Terms
from comfyone.emulator import Record, Sandbox
from comfyone.transport.retry import RetryPolicy

PATIENCE = 60.0
QUICK = RetryPolicy(base=0.05, cap=0.2)
CLIENT: dict[str, Any] = {
    "policy": RetryPolicy(attempts=1),
    "terms": Terms(patience=0.6, outage=0.6, interval=0.05, silence=0.5),
    "reconnect_delay": 0.05,
}

Queue: TypeAlias = QueueManager | AsyncQueueManager


@dataclass
class Colour:
    """One colour of queue and client. What blocks is called in a thread, so that tests are the same for both."""

    name: str
    opened: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def client(self, sandbox: Sandbox, **settings: Any) -> Any:
        """A client that is closed at the end of the test."""
        if self.name == "async":
            return await self.opened.enter_async_context(AsyncComfyUIClient(url=sandbox.url, **CLIENT | settings))
        client = ComfyUIClient(url=sandbox.url, **CLIENT | settings)
        self.opened.push_async_callback(asyncio.to_thread, client.close)
        return client

    async def queue(self, *sandboxes: Sandbox, **settings: Any) -> Any:
        """A queue over sandboxes that is stopped at the end of the test."""
        clients = [await self.client(sandbox) for sandbox in sandboxes]
        make: Any = AsyncQueueManager if self.name == "async" else QueueManager
        queue = make(clients if len(clients) > 1 else clients[0], **{"backoff": QUICK, **settings})
        self.opened.push_async_callback(self.call, queue.stop, wait=False)
        return queue

    async def call(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call what blocks in one colour and is awaited in the other."""
        if self.name == "async":
            answer = method(*arguments, **named)
            return await answer if isawaitable(answer) else answer
        return await asyncio.to_thread(method, *arguments, **named)

    async def run(self, *arguments: Any, **named: Any) -> Any:
        """Run a batch."""
        settings = {"backoff": QUICK, "timeout": PATIENCE, "progress": False, **named}
        return await self.call(run_async if self.name == "async" else run, *arguments, **settings)

    async def finish(self, queue: Queue) -> None:
        """Work until nothing is left."""
        if not queue.is_running:
            queue.start()
        await self.call(queue.wait_for_completion, PATIENCE)


@pytest.fixture(params=["blocking", "async"])
async def colour(request: pytest.FixtureRequest) -> AsyncIterator[Colour]:
    made = Colour(request.param)
    async with made.opened:
        yield made


@pytest.fixture
def sandboxes() -> Iterator[Callable[..., Sandbox]]:
    """Starts sandboxes that are stopped at the end."""
    with ExitStack() as started:
        yield lambda **knobs: started.enter_context(Sandbox(**knobs))


@pytest.fixture
def sandbox(sandboxes: Callable[..., Sandbox]) -> Sandbox:
    return sandboxes()


@pytest.fixture
def log() -> Any:
    """Lines of ours, as they are logged."""
    lines: list[str] = []
    logger.enable("comfyone")
    sink = logger.add(lambda message: lines.append(str(message)), format="{message}", filter="comfyone")
    yield lines
    logger.remove(sink)
    logger.disable("comfyone")


async def until(holds: Callable[[], Any], what: str = "it") -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"{what} never came to hold"
        await asyncio.sleep(0.01)


def runs(sandbox: Sandbox) -> list[Record]:
    """What was sent to a sandbox."""
    return list(sandbox.records)
