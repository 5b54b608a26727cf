"""What a job that waits can expect: its place in the queue, and when it will have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from loguru import logger

from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.domain.backends import SHARED_POOL
from comfyone.gateway.domain.jobs import REQUEUED, TERMINAL, JobEvent, JobState, Passing
from comfyone.gateway.domain.pace import Pace
from comfyone.gateway.ports import Bus, JobView, QueuedJob, Session, Store

__all__ = ["Line", "Outlook"]

HEAD = 100
"""Waiting jobs that are told their position; who waits behind them hears of it when it is nearer."""

TELLING_PAUSE = 0.5
"""Least seconds between two tellings."""

DRIFT = 3.0
"""Seconds after which expected times are told anew although no queue has moved."""

SEED = 500
"""Ended jobs from which a new process learns what to expect."""

MOVES = TERMINAL | {JobState.QUEUED, REQUEUED, JobState.DISPATCHED}


@dataclass(frozen=True, slots=True)
class Line:
    """A tenant's queue at a moment.

    ``ids`` are the first that wait, ``ahead`` the seconds of work before each of them and, last, before whoever comes
    behind; ``typical`` is what a job further back is taken to need, None while nothing is known; ``crew`` is the number
    of backends that work on it all.
    """

    ids: Sequence[str]
    ahead: Sequence[float]
    typical: float | None
    crew: float

    def eta(self, position: int, own: float | None) -> float | None:
        """Seconds until a job at this position is expected to have ended, if it needs ``own`` seconds itself."""
        if self.typical is None or own is None or self.crew <= 0:
            return None
        known = min(position, len(self.ids))
        return (self.ahead[known] + (position - known) * self.typical) / self.crew + own


class Outlook:
    """See `comfyone.gateway.ports.Forecast`. ``pool`` gives the links of a tenant's own pool, or of the shared one.

    It hears every committed event, learns from those that end jobs, and tells the positions of jobs whose queue has
    moved to those who listen.
    """

    def __init__(self, store: Store, bus: Bus, pace: Pace, pool: Callable[[str], Sequence[Link]]) -> None:
        self._store = store
        self._bus = bus
        self._pool = pool
        self._pace = pace
        self._sharers: frozenset[str] = frozenset()
        self._moved: set[str] = set()
        self._stirred = asyncio.Event()
        self._told: dict[str, dict[str, Told]] = {}
        self._drift_at = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learns from what has ended before, and begins to tell."""
        for tenant_id, workflow_id, seconds in await self._store.read(lambda session: session.engine.recent(SEED)):
            self._learn(tenant_id, workflow_id, seconds)
        self._task = asyncio.create_task(self._work(), name="outlook")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def note(self, event: JobEvent) -> None:
        """Takes note of a committed event."""
        if event.type == JobState.SUCCEEDED:
            self._learn(event.tenant_id, event.data.get("workflow"), event.data.get("seconds"))
        if event.type == REQUEUED:
            self._told.get(event.tenant_id, {}).pop(event.job_id, None)  # it waits anew, and is told so
        if event.type in MOVES and event.tenant_id in self._bus.audience(Passing.POSITION):
            self._moved.add(event.tenant_id)
            self._stirred.set()

    # what others ask

    async def etas(self, tenant_id: str, views: Iterable[JobView]) -> dict[str, float]:
        """Seconds until each of these jobs is expected to have ended; those of which that is not known are left out."""
        waiting = [(view.job, view.position) for view in views if view.position is not None]
        if not waiting:
            return {}
        _, line = await self._look(tenant_id, min(HEAD, max(position for _, position in waiting)))
        etas = {job.id: line.eta(position, self._seconds(tenant_id, job.workflow_id)) for job, position in waiting}
        return {job_id: round(eta, 1) for job_id, eta in etas.items() if eta is not None}

    async def position(self, view: JobView) -> JobEvent:
        """The event that tells a job that waits where it stands, however far back."""
        job = view.job
        etas = await self.etas(job.tenant_id, [view])
        return _event(job.tenant_id, job.id, view.position or 0, etas.get(job.id))

    async def positions(self, tenant_id: str) -> list[JobEvent]:
        """The events that tell the first who wait where they stand, as of now."""
        entries, line = await self._look(tenant_id, HEAD)
        return [
            _event(tenant_id, entry.id, position, line.eta(position, self._seconds(tenant_id, entry.workflow_id)))
            for position, entry in enumerate(entries)
        ]

    # telling

    async def _work(self) -> None:
        while True:
            try:
                await self._count_sharers()
                tenants = await self._next_to_tell()
                for tenant_id in tenants:
                    await self._tell(tenant_id)
                    await asyncio.sleep(0)  # a read does not let others in by itself
            except Exception:  # noqa: BLE001 - a worker loop: what one round meets must not end those to come
                logger.exception("positions could not be told, and are told again")
            await asyncio.sleep(TELLING_PAUSE)

    async def _next_to_tell(self) -> Sequence[str]:
        """The tenants that are listened for and whose queue has moved; every `DRIFT` seconds all of them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(self._drift_at - time.monotonic(), 0.0)):
                await self._stirred.wait()
        self._stirred.clear()
        audience = set(self._bus.audience(Passing.POSITION))
        tenants, self._moved = self._moved & audience, set()
        if time.monotonic() >= self._drift_at:
            tenants, self._drift_at = audience, time.monotonic() + DRIFT
        self._told = {tenant_id: told for tenant_id, told in self._told.items() if tenant_id in audience}
        return sorted(tenants)

    async def _tell(self, tenant_id: str) -> None:
        told, now = self._told.get(tenant_id, {}), {}
        for event in await self.positions(tenant_id):
            new: Told = event.data["position"], event.data["eta"]
            old = told.get(event.job_id)
            if old is None or _differ(old, new):
                self._bus.publish(event)
                old = new
            now[event.job_id] = old
        self._told[tenant_id] = now

    # looking

    async def _look(self, tenant_id: str, head: int) -> tuple[Sequence[QueuedJob], Line]:
        waiting, placed = await self._store.read(partial(_queue, tenant_id=tenant_id, head=head))
        typical, now = self._pace.typical(tenant_id, self._common()), time.time()
        under_way = sum(
            max(self._needed(tenant_id, job) - max(now - (job.started_at or now), 0.0), 0.0) for job in placed
        )
        ahead = list(accumulate((self._needed(tenant_id, job) for job in waiting), initial=under_way))
        return waiting, Line([job.id for job in waiting], ahead, typical, self._crew(tenant_id))

    def _needed(self, tenant_id: str, job: QueuedJob) -> float:
        return self._seconds(tenant_id, job.workflow_id) or 0.0

    def _seconds(self, tenant_id: str, workflow_id: str | None) -> float | None:
        return self._pace.seconds(tenant_id, workflow_id, self._common())

    def _common(self) -> str | None:
        """The pool whose mean stands in for a tenant of which nothing is known."""
        return SHARED_POOL if self._pool(SHARED_POOL) else None

    def _crew(self, tenant_id: str) -> float:
        """The number of backends that a tenant can count on: its own, and its part of those that all share."""
        own, shared = (sum(link.usable for link in self._pool(pool)) for pool in (tenant_id, SHARED_POOL))
        return own + shared / len(self._sharers | {tenant_id})

    async def _count_sharers(self) -> None:
        if self._pool(SHARED_POOL):
            waiting = await self._store.read(lambda session: session.engine.waiting_tenants())
            self._sharers = frozenset(waiting)

    def _learn(self, tenant_id: str, workflow_id: str | None, seconds: float | None) -> None:
        if seconds is not None:
            self._pace.note(tenant_id, workflow_id, seconds, None if self._pool(tenant_id) else SHARED_POOL)


Told = tuple[int, float | None]


def _queue(session: Session, *, tenant_id: str, head: int) -> tuple[list[QueuedJob], list[QueuedJob]]:
    door = session.tenant(tenant_id)
    return door.queue(head), door.placed()


def _event(tenant_id: str, job_id: str, position: int, eta: float | None) -> JobEvent:
    data = {"position": position, "eta": None if eta is None else round(eta, 1)}
    return JobEvent(tenant_id, job_id, None, Passing.POSITION, time.time(), data)


def _differ(old: Told, new: Told) -> bool:
    """Whether the news is worth telling: another position, or an expected time that is off by a second and a twentieth."""
    if old[0] != new[0] or old[1] is None or new[1] is None:
        return old != new
    return abs(old[1] - new[1]) > max(1.0, 0.05 * old[1])
