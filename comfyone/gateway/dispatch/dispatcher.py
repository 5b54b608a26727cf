"""The engine: attaches backends, places what waits on them, and follows every job to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from loguru import logger

from comfyone.errors import Fault
from comfyone.gateway.dispatch.abilities import Abilities
from comfyone.gateway.dispatch.housekeeping import Housekeeping
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.dispatch.pool import Pool
from comfyone.gateway.dispatch.previews import Previews
from comfyone.gateway.dispatch.questions import Questions
from comfyone.gateway.dispatch.run import Run
from comfyone.gateway.dispatch.secrets import Secrets
from comfyone.gateway.dispatch.terms import Terms
from comfyone.gateway.dispatch.tools import Tools
from comfyone.gateway.dispatch.watch import Watch
from comfyone.gateway.domain.backends import SHARED_POOL, Backend, Condition, Health
from comfyone.gateway.domain.catalogue import Catalogue
from comfyone.gateway.domain.evidence import FileRef
from comfyone.gateway.domain.files import Content
from comfyone.gateway.domain.jobs import Assignment, Failure, Job, JobEvent, Needs
from comfyone.gateway.domain.pace import Pace
from comfyone.gateway.domain.progress import Snapshot
from comfyone.gateway.ports import Blobs, Bus, Driver, Store
from comfyone.gateway.services.graphs import Graphs
from comfyone.graph.document import Graph

__all__ = ["Dispatcher"]

RETRY_SECONDS = 1.0
"""Pause before what failed through a fault of ours is tried again."""


class Dispatcher:
    """One per gateway. A tenant's own backends are a pool, those that all share another; each is placed by itself, and a
    job may go to either."""

    def __init__(
        self,
        store: Store,
        graphs: Graphs,
        blobs: Blobs,
        bus: Bus,
        limits: Limits,
        max_running: int | None,
        driver_for: Callable[[Backend], Driver],
    ) -> None:
        self._store = store
        self._secrets = Secrets()
        self._tools = Tools(
            store, graphs, blobs, bus, limits, self._secrets, Previews(), self._wake_later, self._has_elsewhere
        )
        self._limits = limits
        self._driver_for = driver_for
        self._links: dict[str, Link] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._pools: dict[str, Pool] = {}
        self._runs: dict[str, tuple[Run, asyncio.Task[None]]] = {}
        self._terms = Terms(max_running)
        self.pace = Pace()
        self._abilities = Abilities(self._links, self.visible)
        self._questions = Questions()
        self._housekeeping = Housekeeping(store, blobs, limits, self.visible, self._abilities)
        self._tasks: list[asyncio.Task[None]] = []
        self._starting = True
        self._stopping = False

    async def start(self) -> None:
        """Attaches every backend, takes up every job that one has or may have, and places what waits."""
        backends, placed = await self._store.read(lambda session: (session.engine.backends(), session.engine.placed()))
        for backend in backends:
            await self.attach(backend)
        for assignment in placed:
            self._follow(assignment, recovered=True)
        now = time.time()
        waiting, delayed = await self._store.read(
            lambda session: (session.engine.waiting_tenants(), session.engine.delayed(now))
        )
        self._starting = False
        for tenant_id in waiting:
            self.wake(tenant_id)
        for tenant_id, at in delayed:
            self._wake_later(at - now, tenant_id)
        self._tasks.append(asyncio.create_task(self._housekeeping.work(), name="housekeeping"))

    async def stop(self) -> None:
        """Lets go of everything. Jobs that backends have go on there; the next process takes them up."""
        self._stopping = True
        tasks = [*self._tasks, *self._watches.values(), *(task for _, task in self._runs.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._links.values()))

    # backends

    async def attach(self, backend: Backend, patience: float = 0.0) -> None:
        link = self._links.get(backend.id)
        if link is None:
            link = self._links[backend.id] = Link(backend, self._driver_for(backend), self._limits, self)
            watch = Watch(link, self._store, self._limits)
            self._watches[backend.id] = asyncio.create_task(watch.work(), name=f"watch {backend.name}")
            await self._add(link)
            if patience:
                await link.connected(patience)
        else:
            link.backend = backend
        link.wake()

    async def _add(self, link: Link) -> None:
        """Puts a backend into its pool. For a new pool it is asked who waits: nobody could go there before."""
        new = link.backend.pool not in self._pools
        self._pool(link.backend.pool).links[link.backend.id] = link
        if new and not self._starting:
            for tenant_id in await self._store.read(lambda session: session.engine.waiting_tenants()):
                self.wake(tenant_id)

    async def detach(self, backend: Backend) -> None:
        """Lets a backend go. Its jobs are stopped there, as far as it still answers, and go back to the queue."""
        link = self._links.pop(backend.id, None)
        self._pool(backend.pool).links.pop(backend.id, None)
        if watch := self._watches.pop(backend.id, None):
            watch.cancel()
        runs = [entry for entry in self._runs.values() if entry[0].on(backend.id)]
        for _, task in runs:
            task.cancel()
        await asyncio.gather(*(task for _, task in runs), return_exceptions=True)
        await asyncio.gather(*(self._abandon(run, f"backend '{backend.name}' was removed") for run, _ in runs))
        if link:
            await link.close()

    async def _abandon(self, run: Run, reason: str) -> None:
        try:
            await run.abandon(reason)
        except Fault as fault:
            logger.error("job {}: it could not be given back: {}", run.job.id, fault.message)
            self._take_up_again(run.assignment)

    def pool(self, pool_id: str) -> list[Link]:
        """The links of a pool: a tenant's id names that of its own backends."""
        return list(self._pools[pool_id].links.values()) if pool_id in self._pools else []

    def visible(self, tenant_id: str) -> list[Link]:
        """The links that a tenant's jobs may go to: its own, and those that all share."""
        return self.pool(tenant_id) + self.pool(SHARED_POOL)

    async def probe(self, backend: Backend) -> None:
        driver = self._driver_for(backend)
        try:
            await driver.probe()
        finally:
            driver.close()

    def health(self, backend_id: str) -> Health:
        link = self._links.get(backend_id)
        return link.health if link else Health(Condition.UNREACHABLE, "not attached")

    async def known_classes(self, tenant_id: str, patience: float = 2.0) -> frozenset[str] | None:
        """Every node class that some backend of the tenant has, or None while that is not known of all that are live."""
        live = [link for link in self.visible(tenant_id) if link.live]
        catalogues = await asyncio.gather(*(link.catalogued(patience) for link in live))
        return self._abilities.classes(tenant_id) if catalogues and None not in catalogues else None

    def catalogues(self, tenant_id: str) -> list[Catalogue]:
        return self._abilities.catalogues(tenant_id)

    async def ask(self, tenant_id: str, path: str, query: Mapping[str, str] | None = None) -> Sequence[Any]:
        return await self._questions.ask(self.visible(tenant_id), path, query or {})

    async def free(self, tenant_id: str, *, cache: bool, models: bool) -> None:
        own = [link for link in self.pool(tenant_id) if link.live]
        await asyncio.gather(*(link.free(cache=cache, models=models) for link in own))

    def needs(self, tenant_id: str, graph: Graph, values: Mapping[str, Mapping[str, Any]]) -> Needs | None:
        return self._abilities.needs(tenant_id, graph, values)

    def impossible(
        self, tenant_id: str, needs: Needs | None, labels: Mapping[str, str], backend_id: str | None
    ) -> Failure | None:
        return self._abilities.impossible(tenant_id, needs, labels, backend_id)

    # what links tell

    def has_room(self, pool: str) -> None:
        if not self._stopping and pool in self._pools:
            self._pools[pool].wake()

    def note_condition(self, backend: Backend, health: Health) -> None:
        if not self._stopping:
            now = time.time()
            self._store.submit(
                lambda session: session.engine.note_condition(backend.id, health.condition, health.reason, now),
                soon=True,
            ).add_done_callback(partial(_unnoted, backend.name))

    # jobs

    def wake(self, tenant_id: str) -> None:
        """Places what a tenant has waiting, in the next transaction."""
        if self._stopping:
            return
        for pool in (tenant_id, SHARED_POOL):
            if pool in self._pools:
                self._pools[pool].wants(tenant_id)

    def cancel(self, job_id: str) -> None:
        if entry := self._runs.get(job_id):
            entry[0].cancel()

    def confide(self, job_id: str, secrets: Mapping[str, Any]) -> None:
        self._secrets.keep(job_id, secrets)

    def forget(self, job_id: str) -> None:
        self._secrets.forget(job_id)

    @property
    def confided(self) -> int:
        """The jobs whose secrets are in memory."""
        return len(self._secrets)

    def note(self, event: JobEvent) -> None:
        """Takes note of a committed event."""
        self._secrets.note(event)

    def progress(self, job_id: str) -> float:
        entry = self._runs.get(job_id)
        return entry[0].snapshot.percent if entry else 0.0

    def snapshot(self, job_id: str) -> Snapshot | None:
        """How far a job has come that a backend has; None when none has it."""
        entry = self._runs.get(job_id)
        return entry[0].snapshot if entry else None

    async def produced(self, job_id: str, filename: str, subfolder: str, type: str) -> Content | None:
        """The bytes of a file that a job on a backend has reported so far, by the server's own name for it; None when there
        is no such file. Whoever asks knows that the job is the asker's."""
        entry = self._runs.get(job_id)
        return await entry[0].produced(FileRef(filename, subfolder, type)) if entry else None

    def _pool(self, pool_id: str) -> Pool:
        if pool_id not in self._pools:
            follow = partial(self._follow, recovered=False)
            self._pools[pool_id] = Pool(
                pool_id, self._store, self._abilities, self._terms, self.pace, self._limits.overtaking, follow
            )
        return self._pools[pool_id]

    def _wake_later(self, seconds: float, tenant_id: str) -> None:
        asyncio.get_running_loop().call_later(max(0.0, seconds) + 0.001, self.wake, tenant_id)

    def _has_elsewhere(self, job: Job) -> bool:
        """Whether another backend than the one that has a job may be able to run it."""
        return any(link.backend.id != job.backend_id for link in self._abilities.takers(job.tenant_id, job.kind))

    def _follow(self, assignment: Assignment, *, recovered: bool) -> None:
        link = self._links.get(assignment.backend_id)
        if self._stopping:
            return
        if link is None:
            self._store.submit(
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
        for pool in self._pools.values():
            pool.settle(run.assignment, run.seconds)
        if self._terms.capped(run.job.tenant_id):
            for pool_id in (run.job.tenant_id, SHARED_POOL):
                self.has_room(pool_id)  # the backend was free before: only now may another one of the tenant run
        if not task.cancelled() and (error := task.exception()):
            if isinstance(error, Fault):  # such as a full disk: its message says it all
                logger.error("job {}: {}; it is looked at again", run.job.id, error.message)
            else:
                logger.opt(exception=error).error("job {}: the engine failed; it is looked at again", run.job.id)
            self._take_up_again(run.assignment)

    def _given_back(self, assignment: Assignment, future: asyncio.Future[bool]) -> None:
        if not future.cancelled() and (error := future.exception()):
            logger.error("job {}: it could not be given back: {}", assignment.job.id, error)
            self._take_up_again(assignment)
        self.wake(assignment.job.tenant_id)

    def _take_up_again(self, assignment: Assignment) -> None:
        """A fault of ours, such as a full disk, must not lose the job: the evidence still knows what became of it."""
        asyncio.get_running_loop().call_later(RETRY_SECONDS, self._resume, assignment.job.id)

    def _resume(self, job_id: str) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.create_task(self._follow_as_it_stands(job_id), name=f"resume {job_id}"))

    async def _follow_as_it_stands(self, job_id: str) -> None:
        """As the database has it now: it may have been cancelled meanwhile."""
        assignment = await self._store.read(lambda session: session.engine.assignment(job_id))
        if assignment and job_id not in self._runs:
            self._follow(assignment, recovered=True)


def _unnoted(name: str, future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()):
        logger.error("backend {}: its condition could not be noted: {}", name, error)
