"""The engine: attaches backends, places what waits on them, and follows every job to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from loguru import logger

from comfyone.errors import Fault
from comfyone.gateway.dispatch.housekeeping import Housekeeping
from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.dispatch.run import Run, Tools
from comfyone.gateway.domain.backends import Backend, Health
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.jobs import Assignment
from comfyone.gateway.domain.placement import Share, Slot, place
from comfyone.gateway.ports import Driver, Session

__all__ = ["Dispatcher"]

RETRY_SECONDS = 1.0
"""Pause before what failed through a fault of ours is tried again."""

WINDOW = 64
"""How many waiting jobs a placement reads at once."""


class Dispatcher:
    """One per gateway. A tenant's own backends are its pool; placement works on one pool at a time."""

    def __init__(self, tools: Tools, driver_for: Callable[[Backend], Driver]) -> None:
        self._tools = tools
        self._driver_for = driver_for
        self._links: dict[str, Link] = {}
        self._runs: dict[str, tuple[Run, asyncio.Task[None]]] = {}
        self._placing: dict[str, bool] = {}
        self._housekeeping = Housekeeping(tools.store, tools.blobs, tools.limits, self.pool)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Attaches every backend, takes up every job that one has or may have, and places what waits."""
        backends, placed = await self._tools.store.read(
            lambda session: (session.engine.backends(), session.engine.placed())
        )
        for backend in backends:
            await self.attach(backend)
        for assignment in placed:
            self._follow(assignment, recovered=True)
        for tenant in await self._tools.store.read(lambda session: session.engine.waiting_tenants()):
            self.wake(tenant)
        self._tasks.append(asyncio.create_task(self._housekeeping.work(), name="housekeeping"))

    async def stop(self) -> None:
        """Lets go of everything. Jobs that backends have go on there; the next process takes them up."""
        self._stopping = True
        tasks = [*self._tasks, *(task for _, task in self._runs.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._links.values()))

    # backends

    async def attach(self, backend: Backend, patience: float = 0.0) -> None:
        link = self._links.get(backend.id)
        if link is None:
            link = self._links[backend.id] = Link(backend, self._driver_for(backend), self._tools.limits, self.wake)
            if patience:
                await link.connected(patience)
        else:
            link.backend = backend
            self.wake(backend.tenant_id)

    async def detach(self, backend: Backend) -> None:
        """Lets a backend go. Its jobs are stopped there, as far as it still answers, and go back to the queue."""
        link = self._links.pop(backend.id, None)
        runs = [entry for entry in self._runs.values() if entry[0].on(backend.id)]
        for _, task in runs:
            task.cancel()
        await asyncio.gather(*(task for _, task in runs), return_exceptions=True)
        await asyncio.gather(*(self._abandon(run, f"backend '{backend.name}' was removed") for run, _ in runs))
        if link:
            await link.close()
        self.wake(backend.tenant_id)

    async def _abandon(self, run: Run, reason: str) -> None:
        try:
            await run.abandon(reason)
        except Fault as fault:
            logger.error("job {}: it could not be given back: {}", run.job.id, fault.message)
            self._take_up_again(run.assignment)

    def pool(self, tenant_id: str) -> list[Link]:
        return [link for link in self._links.values() if link.backend.tenant_id == tenant_id]

    async def probe(self, backend: Backend) -> None:
        await self._driver_for(backend).probe()

    def health(self, backend_id: str) -> Health:
        link = self._links.get(backend_id)
        return link.health if link else Health(live=False, reason="not attached")

    async def known_classes(self, tenant_id: str, patience: float = 2.0) -> frozenset[str] | None:
        """Every node class that some backend of the tenant has, or None while that is not known of all that are live."""
        catalogs = await asyncio.gather(*(link.catalog(patience) for link in self.pool(tenant_id) if link.live))
        return frozenset().union(*catalogs) if catalogs and None not in catalogs else None  # type: ignore[arg-type]

    # jobs

    def wake(self, tenant_id: str) -> None:
        """Places what a tenant has waiting, in the transaction that is being gathered at this moment."""
        if self._stopping:
            return
        if tenant_id in self._placing:
            self._placing[tenant_id] = True  # look again when the placement under way is done
            return
        slots = [link.slot for link in self.pool(tenant_id) if link.usable]
        if not any(slot.load < slot.depth for slot in slots):
            return
        self._placing[tenant_id] = False
        future = self._tools.store.submit(partial(_claim, tenant_id=tenant_id, slots=slots, now=time.time()))
        future.add_done_callback(partial(self._placed, tenant_id))

    def _placed(self, tenant_id: str, future: asyncio.Future[list[Assignment]]) -> None:
        again = self._placing.pop(tenant_id)
        if future.cancelled():
            return
        if error := future.exception():
            logger.error("placement failed, and is tried again: {}", error)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.wake, tenant_id)
            return
        for assignment in future.result():
            self._follow(assignment, recovered=False)
        if again:
            self.wake(tenant_id)

    def cancel(self, job_id: str) -> None:
        if entry := self._runs.get(job_id):
            entry[0].cancel()

    def progress(self, job_id: str) -> float:
        entry = self._runs.get(job_id)
        return entry[0].percent if entry else 0.0

    def _follow(self, assignment: Assignment, *, recovered: bool) -> None:
        link = self._links.get(assignment.backend_id)
        if self._stopping:
            return
        if link is None:
            self._tools.store.submit(
                lambda session: session.engine.requeue(assignment.job, "its backend was removed", time.time())
            ).add_done_callback(partial(self._given_back, assignment))
            return
        run = Run(assignment, link, self._tools, recovered=recovered)
        task = asyncio.create_task(run.follow(), name=f"run {assignment.job.id}")
        self._runs[assignment.job.id] = (run, task)
        task.add_done_callback(partial(self._done, run))

    def _done(self, run: Run, task: asyncio.Task[None]) -> None:
        if self._runs.get(run.job.id, (None,))[0] is run:
            del self._runs[run.job.id]
        if not task.cancelled() and (error := task.exception()):
            logger.opt(exception=error).error("job {}: the engine failed; it is looked at again", run.job.id)
            self._take_up_again(run.assignment)

    def _given_back(self, assignment: Assignment, future: asyncio.Future[bool]) -> None:
        if not future.cancelled() and (error := future.exception()):
            logger.error("job {}: it could not be given back: {}", assignment.job.id, error)
            self._take_up_again(assignment)
        self.wake(assignment.job.tenant_id)

    def _take_up_again(self, assignment: Assignment) -> None:
        """A fault of ours, such as a full disk, must not lose the job: the evidence still knows what became of it."""
        again = partial(self._follow, assignment, recovered=True)
        asyncio.get_running_loop().call_later(RETRY_SECONDS, again)


def _claim(session: Session, *, tenant_id: str, slots: Iterable[Slot], now: float) -> list[Assignment]:
    """Runs in the writer: reads the head of the queue, places it, and gives each job to its backend.

    Jobs that want a backend without room are not read at all, so that they hold up nobody.
    """
    room = {slot.backend_id: slot for slot in slots if slot.load < slot.depth}
    claimed: list[Assignment] = []
    while room:
        waiting = session.engine.waiting(tenant_id, list(room), WINDOW)
        for job, backend_id in place([Share(tenant_id)], {tenant_id: waiting}.__getitem__, room.values()):
            slot = room[backend_id]
            room[backend_id] = replace(slot, load=slot.load + 1)
            if claim := session.engine.claim(job, slot, new_id(), now):
                claimed.append(claim)
        room = {name: slot for name, slot in room.items() if slot.load < slot.depth}
        if len(waiting) < WINDOW:
            break
    return claimed
