"""Events inside one process."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Collection, Iterator, Set
from contextlib import contextmanager
from itertools import count

from comfyone.gateway.domain.jobs import JobEvent, Passing

__all__ = ["MemoryBus", "Room", "Subscription"]

MAX_PASSING = 256
"""Passing events that wait for a slow listener; older ones make room, previews before any other."""

MAX_NUMBERED = 50_000
"""Numbered events and messages that wait for a listener. Past it the listener is cut off, and resumes by number."""

MAX_PREVIEWS = 4 * 1024 * 1024
"""Bytes of previews that wait for one listener."""

ALL_PREVIEWS = 64 * 1024 * 1024
"""Bytes of previews that wait for all listeners of the process."""

Key = int | tuple[str, str]
"""Of a numbered event its place in the line; of a passing one its type and job, of which only the newest is held."""


class Room:
    """Bytes that listeners may still hold between them."""

    def __init__(self, left: int) -> None:
        self.left = left


class Subscription:
    """One listener. Iterating yields numbered events and messages always and in order, other passing ones as far as there was
    room.

    Of each kind of the latter it holds the newest of a job, in the place where that one came. It hears of one tenant,
    and of passing events only the kinds that it asked for. It ends when it fell too far behind, or the gateway stops.
    """

    def __init__(self, tenant_id: str, passing: Collection[str] = (), room: Room | None = None) -> None:
        self.tenant_id = tenant_id
        self.passing = frozenset(passing)
        self._room = room or Room(ALL_PREVIEWS)
        self._waiting: OrderedDict[Key, JobEvent] = OrderedDict()
        self._previews: OrderedDict[Key, int] = OrderedDict()
        self._others: OrderedDict[Key, None] = OrderedDict()
        self._held = 0
        self._places = count()
        self._arrived = asyncio.Event()
        self._closed = False

    def offer(self, event: JobEvent) -> None:
        if self._closed or event.tenant_id != self.tenant_id:
            return
        if event.number is not None or (event.type == Passing.MESSAGE and event.type in self.passing):
            self._keep(event)
        elif event.type == Passing.PREVIEW and event.type in self.passing:
            self._show(event)
        elif event.type in self.passing:
            self._pass(event)

    def close(self) -> None:
        self._closed = True
        self._arrived.set()

    def release(self) -> None:
        """Gives back what it holds: nobody will read it."""
        self._closed = True
        for key in list(self._waiting):
            self._take(key)

    def __aiter__(self) -> AsyncIterator[JobEvent]:
        return self

    async def __anext__(self) -> JobEvent:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._take(next(iter(self._waiting)))

    def _keep(self, event: JobEvent) -> None:
        if len(self._waiting) - len(self._previews) - len(self._others) >= MAX_NUMBERED:
            return self.close()
        self._put(next(self._places), event)

    def _pass(self, event: JobEvent) -> None:
        key = self._replaced(event)
        if self._is_full():
            self._take(next(iter(self._previews or self._others)))
        self._others[key] = None
        self._put(key, event)

    def _show(self, event: JobEvent) -> None:
        key, size = self._replaced(event), len(event.data["data"])
        while self._previews and size <= MAX_PREVIEWS and not self._has_room(size):
            self._take(next(iter(self._previews)))
        if self._has_room(size):
            self._previews[key] = size
            self._hold(size)
            self._put(key, event)

    def _replaced(self, event: JobEvent) -> Key:
        """The key of a passing event, whose predecessor makes room."""
        key = (event.type, event.job_id)
        if key in self._waiting:
            self._take(key)
        return key

    def _put(self, key: Key, event: JobEvent) -> None:
        self._waiting[key] = event
        self._arrived.set()

    def _take(self, key: Key) -> JobEvent:
        self._others.pop(key, None)
        self._hold(-self._previews.pop(key, 0))
        return self._waiting.pop(key)

    def _is_full(self) -> bool:
        return len(self._previews) + len(self._others) >= MAX_PASSING

    def _has_room(self, size: int) -> bool:
        return not self._is_full() and self._held + size <= MAX_PREVIEWS and size <= self._room.left

    def _hold(self, size: int) -> None:
        self._held += size
        self._room.left -= size


class MemoryBus:
    """See `comfyone.gateway.ports.Bus`."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Subscription]] = {}
        self._audience: dict[str, Counter[str]] = {}
        self._room = Room(ALL_PREVIEWS)
        self._closed = False

    def publish(self, event: JobEvent) -> None:
        for topic in (event.tenant_id, event.job_id):
            for subscription in self._listeners.get(topic, ()):
                subscription.offer(event)

    @contextmanager
    def subscribe(self, topic: str, *, tenant_id: str, passing: Collection[str] = ()) -> Iterator[Subscription]:
        subscription = Subscription(tenant_id, passing, self._room)
        if self._closed:
            subscription.close()
        self._listeners.setdefault(topic, set()).add(subscription)
        self._count(subscription, 1)
        try:
            yield subscription
        finally:
            subscription.release()
            self._count(subscription, -1)
            self._listeners[topic].discard(subscription)
            if not self._listeners[topic]:
                del self._listeners[topic]

    def has_listeners(self, topic: str, passing: str | None = None) -> bool:
        listeners = self._listeners.get(topic, ())
        return any(passing is None or passing in listener.passing for listener in listeners)

    def audience(self, passing: str) -> Set[str]:
        tenants = self._audience.get(passing)
        return tenants.keys() if tenants else frozenset()

    def close(self) -> None:
        """Ends the iteration of every listener, also of those who come later."""
        self._closed = True
        for subscriptions in self._listeners.values():
            for subscription in subscriptions:
                subscription.close()

    def _count(self, subscription: Subscription, change: int) -> None:
        for kind in subscription.passing:
            tenants = self._audience.setdefault(kind, Counter())
            tenants[subscription.tenant_id] += change
            if not tenants[subscription.tenant_id]:
                del tenants[subscription.tenant_id]
