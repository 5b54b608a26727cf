"""The tasks of the asynchronous client: one that listens to the socket, and those that look for what is due."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from comfyone.comfyui import flows
from comfyone.comfyui.events import GREETING
from comfyone.comfyui.tracking import Book, Outcome
from comfyone.errors import ComfyOneError, ServerUnreachableError
from comfyone.transport.aio import AsyncTransport
from comfyone.transport.call import Call
from comfyone.transport.drive import drive_async
from comfyone.transport.flow import Flow
from comfyone.utils.logging import Log

__all__ = ["AsyncLooker", "Callers", "SocketTask"]

_SILENCE = 20.0
_LONGEST_DELAY = 30.0
_AT_ONCE = 32
"""Looks for the ends of prompts that are under way at the same time."""
_MOST_CALLBACKS = 1000


class AsyncLooker:
    """Looks for what the book says is due: at once for what is said to be over, and by a timer for the rest.

    Args:
        by_itself: Says whether it is to look when nobody asks it to.
    """

    def __init__(self, book: Book, transport: AsyncTransport, by_itself: Callable[[], bool], log: Log) -> None:
        self._book = book
        self._by_itself = by_itself
        self._transport = transport
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def wake(self) -> None:
        """Something may be due now, or earlier than was planned."""
        if self._closed or not self._by_itself():
            return
        self._look()
        self._plan()

    async def close(self) -> None:
        """Stop looking, and end every wait."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._book.close(Outcome(cancelled=True))

    async def look(self) -> None:
        """Look for all that is due now, and wait until it was looked for."""
        self._look()
        if self._tasks:  # others may wait for the same looks, so that nobody's cancellation ends them
            await asyncio.wait(list(self._tasks))

    def _look(self) -> None:
        due = self._book.due(max(_AT_ONCE - len(self._tasks), 0))
        for prompt_id in due.over:
            self._begin(flows.look_for_end(self._book, prompt_id))
        if due.others:
            self._begin(flows.look(self._book, due.others))

    def _begin(self, flow: Flow[None]) -> None:
        task = asyncio.create_task(self._follow(flow))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def _follow(self, flow: Flow[None]) -> None:
        try:
            await drive_async(flow, self._transport)
        except Exception as error:  # noqa: BLE001  whoever waits must hear of it, whatever it is
            self._log.error(f"following prompts failed with {type(error).__name__}: {error}")
            told = ComfyOneError(f"following prompts failed with {type(error).__name__}: {error}")
            told.__cause__ = error
            self._book.end(Outcome(error=told))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self.wake()

    def _plan(self) -> None:
        due = self._book.next_due()
        if due is None or len(self._tasks) >= _AT_ONCE:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + max(due - time.monotonic(), 0.0)
        if self._timer is not None and loop.time() < self._timer.when() <= when:
            return  # it will find out that it is too early, and plan anew
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(when, self.wake)


class Callers:
    """Callbacks that are coroutines, running beside the reader. There are not arbitrarily many at the same time."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tasks: set[asyncio.Future[Any]] = set()

    def add(self, told: Awaitable[Any]) -> None:
        """Have it run."""
        if len(self._tasks) >= _MOST_CALLBACKS:
            self._log.error(f"{_MOST_CALLBACKS} callbacks have not ended yet; one more was not called")
            if inspect.iscoroutine(told):
                told.close()
            return
        task = asyncio.ensure_future(told)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def close(self, seconds: float) -> None:
        """Wait until all have ended but the one that asks; what takes longer than that is cancelled."""
        others = self._tasks - {asyncio.current_task()}
        if not others:
            return
        _, late = await asyncio.wait(others, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error(f"a callback raised {type(error).__name__}: {error}")


class SocketTask:
    """One socket after another to one server, read in a task of its own. See `SocketThread`."""

    def __init__(
        self,
        transport: AsyncTransport,
        call: Call,
        attempts: int,
        delay: float,
        heard: Callable[[bytes | str], object],
        changed: Callable[[bool], object],
        log: Log,
    ) -> None:
        self._transport, self._call = transport, call
        self._attempts, self._delay = attempts, delay
        self._heard, self._changed = heard, changed
        self._log = log
        self._ready = asyncio.Event()
        self._settled = asyncio.Event()  # the server has greeted, or the first try has failed
        self._task: asyncio.Task[None] | None = None
        self._place = transport.endpoint.socket(call.path)
        self.error: ComfyOneError | None = None

    @property
    def running(self) -> bool:
        """Whether the task connects or listens."""
        return self._task is not None and not self._task.done()

    @property
    def connected(self) -> bool:
        """Whether the server has greeted, and the socket is still open."""
        return self._ready.is_set()

    def start(self, *, reconnect: bool) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(reconnect))

    async def wait(self, seconds: float) -> bool:
        """Wait until the server has greeted, the first try has failed, or somebody has waited in vain: once is enough."""
        if self._ready.is_set():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            self._settled.set()
        return self._ready.is_set()

    async def close(self) -> None:
        """Close the socket and stay closed."""
        task = self._task
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, reconnect: bool) -> None:
        failures = 0
        while True:
            try:
                await self._listen()
            except ComfyOneError as error:
                self.error = error
            finally:
                was_ready = self._drop()
            failures = 1 if was_ready else failures + 1
            if not reconnect:
                return
            if failures > self._attempts:
                self._log.warning(f"{self._place}: {self._attempts} attempts failed; prompts are followed by asking")
                return
            pause = min(self._delay * 2.0 ** (failures - 1), _LONGEST_DELAY) * random.uniform(1.0, 1.25)  # noqa: S311
            self._log.warning(f"{self.error or f'{self._place} was closed'}; the next try is in {pause:.1f} s")
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        async with self._transport.socket(self._call, GREETING, heartbeat=_SILENCE) as socket:
            while True:
                message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT and message.type is not aiohttp.WSMsgType.BINARY:
                    raise self._broken(message.type)
                if not self._ready.is_set():
                    self._greeted()
                self._heard(message.data)

    def _broken(self, kind: aiohttp.WSMsgType) -> ServerUnreachableError:
        said = "the server closed the socket" if kind is aiohttp.WSMsgType.CLOSE else "the socket broke"
        return ServerUnreachableError(0, f"{self._place}: {said}", {"sent": True}, hint="check the address")

    def _greeted(self) -> None:
        self.error = None
        self._ready.set()
        self._settled.set()
        self._log.info(f"{self._place} is connected")
        self._changed(True)

    def _drop(self) -> bool:
        was_ready = self._ready.is_set()
        self._ready.clear()
        self._settled.set()
        if was_ready:
            self._changed(False)
        return was_ready
