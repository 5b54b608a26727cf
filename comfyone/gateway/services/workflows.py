"""Storing workflows, checked against their graphs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.policies import check_granted
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.domain.workflows import InputSpec, Workflow, check_declaration, check_nodes, unknown_workflow
from comfyone.gateway.ports import Dispatch, Store
from comfyone.gateway.services.catalog import Catalog

__all__ = ["Workflows"]

MAX_NAME = 200


class Workflows:
    def __init__(self, store: Store, dispatch: Dispatch, catalog: Catalog) -> None:
        self._store = store
        self._dispatch = dispatch
        self._catalog = catalog

    async def all(self, principal: Principal) -> list[Workflow]:
        """Those that the key may run."""
        found = await self._store.read(lambda session: session.tenant(principal.tenant_id).workflows())
        return [workflow for workflow in found if principal.may_run(workflow.name)]

    async def get(self, principal: Principal, key: str, version: int | None = None) -> Workflow:
        found = await self._store.read(lambda session: session.tenant(principal.tenant_id).workflow(key, version))
        if not principal.may_run(found.name):
            raise unknown_workflow(key, version)
        return found

    async def create(
        self,
        principal: Principal,
        name: str,
        inputs: Sequence[InputSpec],
        outputs: Sequence[str],
        graph: Any,
        raw: bytes,
    ) -> Workflow:
        """Stores a workflow. ``raw`` is ``graph`` as its bytes came in.

        Raises:
            Fault: ``invalid_graph`` or ``class_forbidden`` naming the node, ``invalid_body`` for the name, ``conflict`` when it is taken.
        """
        workflow = await self._checked(principal, name, inputs, outputs, graph, raw)
        return await self._catalog.change(principal.tenant_id, lambda door: door.add_workflow(workflow))

    async def update(
        self,
        principal: Principal,
        key: str,
        name: str,
        inputs: Sequence[InputSpec],
        outputs: Sequence[str],
        graph: Any,
        raw: bytes,
    ) -> Workflow:
        """Stores the next version. Jobs that were accepted before run the version of their time."""
        workflow = await self._checked(principal, name, inputs, outputs, graph, raw)
        return await self._catalog.change(principal.tenant_id, lambda door: door.replace_workflow(key, workflow))

    async def delete(self, principal: Principal, key: str) -> None:
        principal.require(Scope.WORKFLOWS)
        await self._catalog.change(principal.tenant_id, lambda door: door.delete_workflow(key, time.time()))

    async def _checked(
        self,
        principal: Principal,
        name: str,
        inputs: Sequence[InputSpec],
        outputs: Sequence[str],
        graph: Any,
        raw: bytes,
    ) -> Workflow:
        principal.require(Scope.WORKFLOWS)
        name = name.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise Fault("invalid_body", f"a workflow's name is 1 to {MAX_NAME} printable characters", field="name")
        check_declaration(graph, inputs, outputs)
        check_granted(principal.policy, graph)
        classes = await self._dispatch.known_classes(principal.tenant_id)
        if classes is not None:
            check_nodes(graph, classes)
        now = time.time()
        return Workflow(new_id(), principal.tenant_id, name, 1, tuple(inputs), tuple(outputs), raw, now, now)
