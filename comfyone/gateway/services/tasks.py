"""Jobs and backends as clients of tasks and workers look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comfyone.gateway.domain.jobs import JobState, Task
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.ports import Store

__all__ = ["Tasks"]


class Tasks:
    """``retries``: how often a job is tried again at most."""

    def __init__(self, store: Store, retries: int) -> None:
        self._store = store
        self.retries = retries

    async def asked(self, principal: Principal, job_ids: Sequence[str]) -> Mapping[str, Task]:
        """How jobs of the tenant were asked for, by id."""
        principal.require(Scope.JOBS)
        return await self._store.read(lambda session: session.tenant(principal.tenant_id).tasks(job_ids))

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
