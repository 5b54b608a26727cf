"""Jobs and backends as clients of tasks and workers look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from comfyone.gateway.domain.jobs import JobState, Task
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.ports import JobView, Session, Store, TenantDoor
from comfyone.gateway.services.sight import NOTHING, hidden, is_far

__all__ = ["Tasks"]


class Tasks:
    """``retries``: how often a job is tried again at most."""

    def __init__(self, store: Store, retries: int) -> None:
        self._store = store
        self.retries = retries

    async def get(self, principal: Principal, job_id: str) -> tuple[JobView, Task]:
        """A job as it stands, and how it was asked for."""
        principal.require(Scope.JOBS)

        def query(session: Session) -> tuple[JobView, Task]:
            door = session.tenant(principal.tenant_id)
            return door.job(job_id), _asked(principal, door, [job_id])[job_id]

        return await self._store.read(query)

    async def page(
        self, principal: Principal, *, limit: int, offset: int, states: Sequence[JobState]
    ) -> tuple[list[JobView], Mapping[str, Task]]:
        """Jobs, newest first, and how they were asked for, by id: of as many as memory should hold."""
        principal.require(Scope.JOBS)

        def query(session: Session) -> tuple[list[JobView], Mapping[str, Task]]:
            door = session.tenant(principal.tenant_id)
            views = door.jobs(limit=limit, offset=offset, states=states)
            return views, _asked(principal, door, [view.job.id for view in views])

        return await (self._store.survey if is_far(states, offset) else self._store.read)(query)

    async def count(self, principal: Principal, states: Sequence[JobState]) -> int:
        """How many jobs there are, or are in one of these states."""
        principal.require(Scope.JOBS)
        return await self._store.survey(lambda session: session.tenant(principal.tenant_id).count(states))

    async def tally(self, principal: Principal) -> Mapping[JobState, int]:
        """How many jobs stand how; of those that have ended, all that ever did."""
        principal.require(Scope.JOBS)
        return await self._store.survey(lambda session: session.tenant(principal.tenant_id).tally())

    async def at_work(self, principal: Principal) -> Mapping[str, str]:
        """The tenant's job that each backend runs, by the backend's id."""
        return await self._store.read(lambda session: session.tenant(principal.tenant_id).at_work())


def _asked(principal: Principal, door: TenantDoor, job_ids: Sequence[str]) -> Mapping[str, Task]:
    """How jobs were asked for, as far as the key may know."""
    tasks, without = door.tasks(job_ids), hidden(principal, door, job_ids)
    return {job_id: replace(task, payload=NOTHING) if job_id in without else task for job_id, task in tasks.items()}
