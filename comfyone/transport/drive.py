"""The drivers of flows: one that blocks and one that awaits, each for flows with a result and for flows of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack, aclosing, closing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from comfyone.transport.answers import Answer
from comfyone.transport.call import Call
from comfyone.transport.flow import Aside, Exchange, Flow, Listen, Pause, Save, Step, Tell
from comfyone.utils.files import filled, filled_async

__all__ = ["AsyncDoor", "Door", "drive", "drive_async", "drive_events", "drive_events_async"]

Result = TypeVar("Result")


class Door(Protocol):
    """What a blocking driver needs of a transport."""

    def exchange(self, call: Call, *, attempts: int | None = None) -> Answer:
        """Send a call and read its answer."""

    def stream(self, call: Call, *, live: bool = False) -> AbstractContextManager[Iterator[bytes]]:
        """Send a call and give its body in pieces."""

    def download(self, call: Call, write: Callable[[Iterator[bytes]], Any]) -> Any:
        """Send a call and hand the pieces of its body on."""


class AsyncDoor(Protocol):
    """What an asynchronous driver needs of a transport."""

    async def exchange(self, call: Call, *, attempts: int | None = None) -> Answer:
        """Send a call and read its answer."""

    def stream(self, call: Call, *, live: bool = False) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Send a call and give its body in pieces."""

    async def download(self, call: Call, write: Callable[[AsyncIterator[bytes]], Awaitable[Any]]) -> Any:
        """Send a call and hand the pieces of its body on."""


def drive(flow: Flow[Result], door: Door) -> Result:
    """Take a flow to its end and return what it returns.

    Raises:
        Exception: Whatever the flow does not deal with.
    """
    steps = _steps(flow, door)
    try:
        next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("the flow tells events; drive_events reads them")


def drive_events(flow: Flow[object], door: Door) -> Iterator[Any]:
    """Give what a flow tells. Whoever stops reading stops the flow, and closes what it listens to."""
    return _steps(flow, door)


def _steps(flow: Flow[Result], door: Door) -> Generator[Any, None, Result]:
    with closing(flow), closing(_Hand(door)) as hand:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Tell):
                    yield step.value
                    step = flow.send(None)
                else:
                    step = _next_step(flow, hand.outcome(step))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def drive_async(flow: Flow[Result], door: AsyncDoor) -> Result:
    """`drive` for asyncio. A cancelled task leaves the flow where it stands."""
    with closing(flow):
        async with aclosing(_AsyncHand(door)) as hand:
            try:
                step = next(flow)
                while True:
                    step = _next_step(flow, await hand.outcome(step))
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]


async def drive_events_async(flow: Flow[object], door: AsyncDoor) -> AsyncGenerator[Any, None]:
    """`drive_events` for asyncio."""
    with closing(flow):
        async with aclosing(_AsyncHand(door)) as hand:
            try:
                step = next(flow)
                while True:
                    if isinstance(step, Tell):
                        yield step.value
                        step = flow.send(None)
                    else:
                        step = _next_step(flow, await hand.outcome(step))
            except StopIteration:
                return


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    error: Exception | None = None


def _next_step(flow: Flow[Any], outcome: _Outcome) -> Step:
    return flow.send(outcome.value) if outcome.error is None else flow.throw(outcome.error)


class _Hand:
    """Does steps, and holds the one stream that a flow may listen to."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._stream = ExitStack()
        self._heard: Listen | None = None
        self._pieces: Iterator[bytes] = iter(())

    def outcome(self, step: Step) -> _Outcome:
        try:
            return _Outcome(self._listen(step) if isinstance(step, Listen) else self._do(step))
        except Exception as error:  # noqa: BLE001  the flow decides what a failure means
            self.close()
            return _Outcome(error=error)

    def _do(self, step: Step) -> Any:
        self.close()
        match step:
            case Exchange(call, attempts):
                return self._door.exchange(call, attempts=attempts)
            case Pause(seconds):
                return time.sleep(seconds)
            case Save(call, draft):
                return self._door.download(call, lambda pieces: filled(draft, pieces))
            case Aside(work):
                return work()
        raise TypeError(f"no driver knows the step {step!r}")

    def _listen(self, step: Listen) -> bytes | None:
        if step is not self._heard:
            self.close()
            self._pieces = self._stream.enter_context(self._door.stream(step.call, live=True))
            self._heard = step
        piece = next(self._pieces, None)
        if piece is None:
            self.close()
        return piece

    def close(self) -> None:
        self._heard = None
        self._stream.close()


class _AsyncHand:
    """`_Hand` for asyncio."""

    def __init__(self, door: AsyncDoor) -> None:
        self._door = door
        self._stream: AsyncExitStack | None = None  # most flows listen to none
        self._heard: Listen | None = None
        self._pieces: AsyncIterator[bytes]

    async def outcome(self, step: Step) -> _Outcome:
        try:
            return _Outcome(await (self._listen(step) if isinstance(step, Listen) else self._do(step)))
        except Exception as error:  # noqa: BLE001  the flow decides what a failure means
            await self.aclose()
            return _Outcome(error=error)

    async def _do(self, step: Step) -> Any:
        if self._stream is not None:
            await self.aclose()
        match step:
            case Exchange(call, attempts):
                return await self._door.exchange(call, attempts=attempts)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Save(call, draft):
                return await self._door.download(call, lambda pieces: filled_async(draft, pieces))
            case Aside(work):
                return await asyncio.to_thread(work)
        raise TypeError(f"no driver knows the step {step!r}")

    async def _listen(self, step: Listen) -> bytes | None:
        if step is not self._heard:
            await self.aclose()
            self._stream = AsyncExitStack()
            self._pieces = await self._stream.enter_async_context(self._door.stream(step.call, live=True))
            self._heard = step
        piece = await anext(self._pieces, None)
        if piece is None:
            await self.aclose()
        return piece

    async def aclose(self) -> None:
        stream, self._heard, self._stream = self._stream, None, None
        if stream is not None:
            await stream.aclose()
