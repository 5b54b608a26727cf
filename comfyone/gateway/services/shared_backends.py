"""The backends that all tenants may use, as the operator sees and changes them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.domain.backends import Backend, BackendState, clean_url, is_url
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.ports import Dispatch, Session, Store
from comfyone.gateway.services.audit import note
from comfyone.gateway.services.backends import CONNECT_SECONDS, SeenBackend, check_instance, probe
from comfyone.gateway.services.catalog import Catalog

__all__ = ["SharedBackends"]


class SharedBackends:
    """Every method needs the scope ``admin``. A shared backend belongs to the tenant of who registered it."""

    def __init__(self, store: Store, dispatch: Dispatch, catalog: Catalog) -> None:
        self._store = store
        self._dispatch = dispatch
        self._catalog = catalog

    async def all(self, principal: Principal) -> list[SeenBackend]:
        principal.require(Scope.ADMIN)
        return [self._seen(backend) for backend in await self._store.read(lambda s: s.shared_backends.all())]

    async def get(self, principal: Principal, name: str) -> SeenBackend:
        principal.require(Scope.ADMIN)
        return self._seen(await self._store.read(lambda session: session.shared_backends.get(name)))

    async def register(
        self,
        principal: Principal,
        name: str,
        *,
        url: str,
        weight: int,
        labels: Mapping[str, str],
        state: BackendState,
    ) -> SeenBackend:
        """Raises:
        Fault: ``invalid_body``, ``backend_unreachable``, ``not_comfyui``, or ``conflict``.
        """
        principal.require(Scope.ADMIN)
        check_instance(name, "name")
        if is_url(name):
            raise Fault(
                "invalid_body", "a shared backend is not called by its address, which tenants don't see", field="name"
            )
        address = clean_url(url)
        backend = Backend(new_id(), principal.tenant_id, name, name, address, state, weight, labels, True, time.time())
        if state is not BackendState.DOWN:
            await probe(self._dispatch, backend)
        backend = await self._catalog.change_shared(lambda session: _add(session, backend, principal.actor))
        await self._dispatch.attach(backend, 0.0 if state is BackendState.DOWN else CONNECT_SECONDS)
        return self._seen(backend)

    async def change(
        self,
        principal: Principal,
        name: str,
        *,
        state: BackendState | None,
        weight: int | None,
        labels: Mapping[str, str] | None,
    ) -> SeenBackend:
        principal.require(Scope.ADMIN)

        def command(session: Session) -> Backend:
            changed = session.shared_backends.change(name, state=state, weight=weight, labels=labels)
            note(session, principal.actor, "backend.change", name, state=state, weight=weight, labels=labels)
            return changed

        backend = await self._catalog.change_shared(command)
        await self._dispatch.attach(backend)
        return self._seen(backend)

    async def delete(self, principal: Principal, name: str) -> None:
        principal.require(Scope.ADMIN)

        def command(session: Session) -> Backend:
            note(session, principal.actor, "backend.delete", name)
            return session.shared_backends.delete(name)

        await self._dispatch.detach(await self._catalog.change_shared(command))

    def _seen(self, backend: Backend) -> SeenBackend:
        return SeenBackend(backend, self._dispatch.health(backend.id))


def _add(session: Session, backend: Backend, actor: str) -> Backend:
    added = session.shared_backends.add(backend)
    if added.id == backend.id:
        facts: dict[str, Any] = {
            "url": backend.url,
            "weight": backend.weight,
            "labels": dict(backend.labels),
            "state": backend.state,
        }
        note(session, actor, "backend.create", backend.name, **facts)
    return added
