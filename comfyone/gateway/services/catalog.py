"""What submissions look up over and over, kept in memory for a moment."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from comfyone.gateway.domain.backends import Backend, find_backend
from comfyone.gateway.domain.workflows import Workflow
from comfyone.gateway.ports import Session, Store, TenantDoor
from comfyone.gateway.services.graphs import Graphs
from comfyone.graph.document import Graph

__all__ = ["Catalog"]

T = TypeVar("T")

SECONDS = 1.0
"""How long a look-up is good. What this process changes is forgotten at once; what another changes is seen this late."""

MAX_TENANTS = 1000
MAX_WORKFLOWS = 256


@dataclass(frozen=True, slots=True)
class _Known:
    until: float
    backends: list[Backend]
    workflows: dict[str, Workflow] = field(default_factory=dict)


class Catalog:
    """The backends that a tenant sees, and its current workflows. Changes go through `change` and `change_shared`."""

    def __init__(self, store: Store, graphs: Graphs) -> None:
        self._store = store
        self._graphs = graphs
        self._tenants: OrderedDict[str, _Known] = OrderedDict()

    async def has_backends(self, tenant_id: str) -> bool:
        return bool((await self._known(tenant_id)).backends)

    async def takers(self, tenant_id: str, backend: Backend | None, labels: Mapping[str, str]) -> list[Backend]:
        """The backends that a job may go to, by what it says itself: the one that it names, or all with these labels."""
        found = [backend] if backend else (await self._known(tenant_id)).backends
        return [one for one in found if labels.items() <= one.labels.items()]

    async def backend(self, tenant_id: str, key: str) -> Backend:
        """Raises:
        Fault: ``not_found``.
        """
        return find_backend((await self._known(tenant_id)).backends, key)

    async def workflow(self, tenant_id: str, key: str) -> tuple[Workflow, Graph]:
        """A current workflow by id or name, and its graph.

        Raises:
            Fault: ``not_found``.
        """
        workflows = (await self._known(tenant_id)).workflows
        workflow = workflows.get(key)
        if workflow is None:
            workflow = await self._store.read(lambda session: session.tenant(tenant_id).workflow(key))
            if len(workflows) < MAX_WORKFLOWS:
                workflows[key] = workflow
        return workflow, self._graphs.of_version(workflow.id, workflow.version, workflow.graph)

    async def change(self, tenant_id: str, command: Callable[[TenantDoor], T]) -> T:
        """Writes to a tenant's backends or workflows; the next look-up sees it."""
        try:
            return await self._store.write(lambda session: command(session.tenant(tenant_id)))
        finally:
            self._tenants.pop(tenant_id, None)

    async def change_shared(self, command: Callable[[Session], T]) -> T:
        """Writes to the backends that all tenants see."""
        try:
            return await self._store.write(command)
        finally:
            self._tenants.clear()

    async def _known(self, tenant_id: str) -> _Known:
        known = self._tenants.get(tenant_id)
        if known is None or known.until < time.monotonic():
            backends = await self._store.read(lambda session: session.tenant(tenant_id).backends())
            known = self._tenants[tenant_id] = _Known(time.monotonic() + SECONDS, backends)
            if len(self._tenants) > MAX_TENANTS:
                self._tenants.popitem(last=False)
        return known
