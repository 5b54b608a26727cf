"""Submitting, watching and cancelling jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Output
from comfyone.gateway.domain.jobs import TERMINAL, JobEvent, JobState, Origin, Passing, Standing
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.ports import Bus, Dispatch, Forecast, JobView, Session, Store, TenantDoor
from comfyone.gateway.services.sight import hidden, is_far, shown
from comfyone.gateway.services.submissions import Submission, Submissions
from comfyone.graph.document import Graph, with_values

__all__ = ["Jobs"]

TOLD = frozenset({Passing.PROGRESS, Passing.POSITION})
FOLLOWED = TOLD | {Passing.PREVIEW, Passing.CANCELLING}


class Jobs:
    def __init__(
        self,
        store: Store,
        bus: Bus,
        dispatch: Dispatch,
        forecast: Forecast,
        submissions: Submissions,
    ) -> None:
        self._store = store
        self._bus = bus
        self._dispatch = dispatch
        self._forecast = forecast
        self._submissions = submissions

    async def run(self, principal: Principal, submission: Submission, wait: float) -> tuple[JobView, bool]:
        """Queues a job, and gives it as soon as it has ended or after ``wait`` seconds; otherwise as `submit`."""
        job = await self._submissions.check(principal, submission)
        if isinstance(job, str):
            return await self.get(principal, job, wait), True
        with self._bus.subscribe(job.id, tenant_id=principal.tenant_id) as events:
            job_id, replayed = await self._submissions.add(principal, job, at_once=True)
            if not replayed:
                await _until_terminal(events, wait)
        return await self.get(principal, job_id, wait if replayed else 0.0), replayed

    async def submit(self, principal: Principal, submission: Submission) -> tuple[str, bool]:
        """Queues a job; when this returns, it is committed (law 1).

        Returns:
            The job's id, and whether it was there before under the same idempotency key.

        Raises:
            Fault: naming the input that does not fit, or the workflow, file or backend that does not exist.
        """
        job = await self._submissions.check(principal, submission)
        return (job, True) if isinstance(job, str) else await self._submissions.add(principal, job)

    async def is_used(self, principal: Principal, key: str, lifetime: float | None) -> bool:
        """Whether a job came under this idempotency key within its lifetime, of a dialect that compares no bodies."""
        principal.require(Scope.JOBS)
        return await self._submissions.replayed(principal.tenant_id, key, b"", lifetime) is not None

    async def get(self, principal: Principal, job_id: str, wait: float = 0.0) -> JobView:
        """A job as it stands; with ``wait``, as soon as it has ended or after that many seconds."""
        principal.require(Scope.JOBS)

        def query(session: Session) -> JobView:
            door = session.tenant(principal.tenant_id)
            return shown(principal, door, [door.job(job_id)])[0]

        if wait <= 0:
            return await self._store.read(query)
        with self._bus.subscribe(job_id, tenant_id=principal.tenant_id) as events:
            view = await self._store.read(query)
            if view.job.state not in TERMINAL:
                await _until_terminal(events, wait)
                view = await self._store.read(query)
        return view

    async def origin(self, principal: Principal, job_id: str) -> Origin | None:
        """What the caller said of a job in ComfyUI's own words, if it came in them."""
        principal.require(Scope.JOBS)
        return await self._store.read(lambda session: session.tenant(principal.tenant_id).origin(job_id))

    async def page(self, principal: Principal, *, limit: int, offset: int, states: Sequence[JobState]) -> list[JobView]:
        """Newest first. However far back they are looked for, nobody else waits."""
        principal.require(Scope.JOBS)

        def query(session: Session) -> list[JobView]:
            door = session.tenant(principal.tenant_id)
            return shown(principal, door, door.jobs(limit=limit, offset=offset, states=states))

        return await (self._store.survey if is_far(states, offset) else self._store.read)(query)

    async def listed(
        self,
        principal: Principal,
        *,
        limit: int,
        before: str | None,
        metadata: Mapping[str, str],
        standings: Sequence[Standing],
    ) -> list[tuple[JobView, Mapping[str, str]]]:
        """Jobs with their labels, newest first: those that came ``before`` the one of this id, have all the labels of
        ``metadata`` and stand in one of these ways. However far back they are looked for, nobody else waits."""
        principal.require(Scope.JOBS)

        def query(session: Session) -> list[tuple[JobView, Mapping[str, str]]]:
            door = session.tenant(principal.tenant_id)
            views = door.jobs(limit=limit, before=before, metadata=metadata, standings=standings)
            labels = door.metadata([view.job.id for view in views])
            return [(view, labels.get(view.job.id, {})) for view in views]

        return await (self._store.survey if metadata or standings else self._store.read)(query)

    async def labelled(self, principal: Principal, job_id: str) -> tuple[JobView, Mapping[str, str]]:
        """A job as it stands, with its labels."""
        principal.require(Scope.JOBS)

        def query(session: Session) -> tuple[JobView, Mapping[str, str]]:
            door = session.tenant(principal.tenant_id)
            return door.job(job_id), door.metadata([job_id]).get(job_id, {})

        return await self._store.read(query)

    async def graph(self, principal: Principal, job_id: str) -> Graph:
        """The graph that a job runs, its values set; files are named by their paths.

        Raises:
            Fault: ``not_found``, also when it is that of a workflow of which the key may know nothing.
        """
        principal.require(Scope.JOBS)

        found = await self._store.read(partial(_graph, principal=principal, job_id=job_id))
        if found is None:
            raise Fault("not_found", f"no job '{job_id}'", field="id")
        raw, values = found
        return with_values(msgspec.json.decode(raw), msgspec.json.decode(values))

    async def classes(self, principal: Principal, job_id: str) -> dict[str, str]:
        """The class of each node of a job's graph; none of a workflow of which the key may know nothing."""
        principal.require(Scope.JOBS)
        found = await self._store.read(partial(_graph, principal=principal, job_id=job_id))
        return {node_id: node["class_type"] for node_id, node in msgspec.json.decode(found[0]).items()} if found else {}

    async def output(self, principal: Principal, job_id: str, position: int) -> Output:
        """What a job produced, by its place among all of that."""
        principal.require(Scope.JOBS)
        return await self._store.read(lambda session: session.tenant(principal.tenant_id).output(job_id, position))

    async def cancel(self, principal: Principal, job_id: str) -> JobView:
        """Cancels a job: at once while it waits here, else as soon as its backend has let go of it.

        Raises:
            Fault: ``job_finished`` when it has ended already.
        """
        principal.require(Scope.JOBS)
        job = await self._store.write(lambda session: session.tenant(principal.tenant_id).cancel(job_id, time.time()))
        if job.state not in TERMINAL:
            self._bus.publish(JobEvent(job.tenant_id, job_id, None, Passing.CANCELLING, time.time()))
            self._dispatch.cancel(job_id)
        return await self.get(principal, job_id)

    async def reprioritise(self, principal: Principal, job_id: str, priority: int) -> JobView:
        """Raises:
        Fault: ``job_finished`` when it has ended already.
        """
        principal.require(Scope.JOBS)
        await self._store.write(
            lambda session: session.tenant(principal.tenant_id).reprioritise(job_id, priority, time.time())
        )
        return await self.get(principal, job_id)

    async def events(
        self, principal: Principal, job_id: str, after: int, *, previews: bool = False
    ) -> AsyncIterator[JobEvent]:
        """Everything that happens to a job from number ``after`` on, until it has ended; positions, progress and, if
        they are wanted, ``previews`` as they come.

        The first step raises ``not_found`` for a job that is not the principal's.
        """
        principal.require(Scope.JOBS)
        tenant_id, wanted = principal.tenant_id, _passing(previews)
        with self._bus.subscribe(job_id, tenant_id=tenant_id, passing=wanted) as live:
            view, kept = await self._store.read(lambda session: _history(session.tenant(tenant_id), job_id, after))
            for event in kept:
                after = event.number or after
                yield event
            if view.job.state in TERMINAL:
                return
            if view.position is not None:
                yield await self._forecast.position(view)
            async for event in live:
                if event.number is not None and event.number <= after:
                    continue
                yield event
                if event.terminal:
                    return

    async def follow(self, principal: Principal, job_id: str) -> AsyncGenerator[JobView | JobEvent]:
        """A job as it stands, and then all that happens to it until it has ended, previews too.

        The first step raises ``not_found`` for a job that is not the principal's.
        """
        principal.require(Scope.JOBS)
        tenant_id = principal.tenant_id

        def query(session: Session) -> tuple[JobView, int]:
            door = session.tenant(tenant_id)
            return door.job(job_id), door.last_event(job_id)

        with self._bus.subscribe(job_id, tenant_id=tenant_id, passing=FOLLOWED) as live:
            view, last = await self._store.read(query)
            yield view
            if view.job.state in TERMINAL:
                return
            async for event in live:
                if event.number is None or event.number > last:
                    yield event
                if event.terminal:
                    return

    async def watch(self, principal: Principal, *, previews: bool = False) -> AsyncGenerator[JobEvent]:
        """What happens to all jobs of a tenant from now on, after the positions of those that wait already."""
        principal.require(Scope.JOBS)
        tenant_id = principal.tenant_id
        with self._bus.subscribe(tenant_id, tenant_id=tenant_id, passing=_passing(previews)) as live:
            for event in await self._forecast.positions(tenant_id):
                yield event
            async for event in live:
                yield event

    async def relayed(self, principal: Principal) -> AsyncGenerator[list[str] | JobEvent]:
        """The ids of a tenant's jobs that have not ended; and then all that happens to its jobs, what servers say of them in
        their own words too."""
        principal.require(Scope.JOBS)
        tenant_id = principal.tenant_id
        with self._bus.subscribe(tenant_id, tenant_id=tenant_id, passing={Passing.MESSAGE}) as live:
            yield await self._store.read(lambda session: session.tenant(tenant_id).open_jobs())
            async for event in live:
                yield event

    async def placed_for(self, principal: Principal, client_id: str) -> list[str]:
        """The ids of the jobs with this client id that backends have, the latest last."""
        principal.require(Scope.JOBS)
        return await self._store.read(lambda session: session.tenant(principal.tenant_id).placed_for(client_id))


def _passing(previews: bool) -> frozenset[Passing]:
    return TOLD | {Passing.PREVIEW} if previews else TOLD


def _graph(session: Session, *, principal: Principal, job_id: str) -> tuple[bytes, bytes] | None:
    """The graph and values of a job; None when the key may not see them."""
    door = session.tenant(principal.tenant_id)
    graph = door.graph(job_id)
    return None if hidden(principal, door, [job_id]) else graph


def _history(door: TenantDoor, job_id: str, after: int) -> tuple[JobView, list[JobEvent]]:
    return door.job(job_id), door.events(job_id, after)


async def _until_terminal(events: AsyncIterator[JobEvent], seconds: float) -> None:
    """Until the job has ended, or the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for event in events:
                if event.terminal:
                    return
