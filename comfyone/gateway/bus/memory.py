"""Events inside one process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from comfyone.gateway.domain.jobs import JobEvent

__all__ = ["MemoryBus", "Subscription"]

MAX_PASSING = 256
"""Passing events (progress) that wait for a slow listener; older ones make room."""

MAX_NUMBERED = 50_000
"""Numbered events that wait for a listener. Past it the listener is cut off, and resumes by number."""


class Subscription:
    """One listener. Iterating yields numbered events always and in order, passing ones if there was room.

    It ends when the listener fell too far behind, or the gateway stops.
    """

    def __init__(self) -> None:
        self._waiting: deque[JobEvent] = deque()
        self._passing = 0
        self._arrived = asyncio.Event()
        self._closed = False

    def offer(self, event: JobEvent) -> None:
        if self._closed:
            return
        if event.number is None:
            if self._passing >= MAX_PASSING:
                self._drop_oldest_passing()
            self._passing += 1
        elif len(self._waiting) - self._passing >= MAX_NUMBERED:
            return self.close()
        self._waiting.append(event)
        self._arrived.set()

    def close(self) -> None:
        self._closed = True
        self._arrived.set()

    def __aiter__(self) -> AsyncIterator[JobEvent]:
        return self

    async def __anext__(self) -> JobEvent:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        event = self._waiting.popleft()
        if event.number is None:
            self._passing -= 1
        return event

    def _drop_oldest_passing(self) -> None:
        for index, event in enumerate(self._waiting):
            if event.number is None:
                del self._waiting[index]
                self._passing -= 1
                return


class MemoryBus:
    """See `comfyone.gateway.ports.Bus`."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Subscription]] = {}
        self._closed = False

    def publish(self, event: JobEvent) -> None:
        for topic in (event.tenant_id, event.job_id):
            for subscription in self._listeners.get(topic, ()):
                subscription.offer(event)

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[Subscription]:
        subscription = Subscription()
        if self._closed:
            subscription.close()
        self._listeners.setdefault(topic, set()).add(subscription)
        try:
            yield subscription
        finally:
            self._listeners[topic].discard(subscription)
            if not self._listeners[topic]:
                del self._listeners[topic]

    def has_listeners(self, topic: str) -> bool:
        return topic in self._listeners

    def close(self) -> None:
        """Ends the iteration of every listener, also of those who come later."""
        self._closed = True
        for subscriptions in self._listeners.values():
            for subscription in subscriptions:
                subscription.close()
