"""Registering and changing backends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from comfyone.errors import Fault
from comfyone.gateway.domain.backends import (
    Backend,
    BackendState,
    ConditionChange,
    Health,
    clean_url,
    is_url,
    name_of_url,
)
from comfyone.gateway.domain.evidence import Unreachable, WrongServer
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.ports import Dispatch, Store
from comfyone.gateway.services.catalog import Catalog

__all__ = ["CONNECT_SECONDS", "Backends", "SeenBackend", "check_instance", "probe"]

MAX_NAME = 200
CONNECT_SECONDS = 2.0
"""How long a registration waits for the socket, so that its answer says how the backend is."""


@dataclass(frozen=True, slots=True)
class SeenBackend:
    """A backend and what we see of it."""

    backend: Backend
    health: Health


class Backends:
    """``configured`` maps the names that the operator has given to servers to their urls."""

    def __init__(self, store: Store, dispatch: Dispatch, catalog: Catalog, configured: Mapping[str, str]) -> None:
        self._store = store
        self._dispatch = dispatch
        self._catalog = catalog
        self._configured = configured

    async def all(self, principal: Principal) -> list[SeenBackend]:
        backends = await self._store.read(lambda session: session.tenant(principal.tenant_id).backends())
        return [self._seen(backend) for backend in backends]

    async def get(self, principal: Principal, key: str) -> SeenBackend:
        return self._seen(await self._store.read(lambda session: session.tenant(principal.tenant_id).backend(key)))

    async def register(
        self,
        principal: Principal,
        instance_id: str,
        *,
        url: str | None,
        weight: int,
        labels: Mapping[str, str],
        state: BackendState,
        new: bool = False,
    ) -> SeenBackend:
        """One that is there already, at the same address, is as good as registered; unless it must be ``new``.

        Raises:
            Fault: ``backend_unresolvable``, ``backend_unreachable``, ``not_comfyui``, or ``conflict``.
        """
        principal.require(Scope.BACKENDS)
        address = self._resolve(instance_id, url)
        name = name_of_url(address) if is_url(instance_id) else instance_id
        backend = Backend(
            new_id(), principal.tenant_id, name, instance_id, address, state, weight, labels, False, time.time()
        )
        if state is not BackendState.DOWN:
            await probe(self._dispatch, backend)
        backend = await self._catalog.change(principal.tenant_id, lambda door: door.add_backend(backend, new=new))
        await self._dispatch.attach(backend, 0.0 if state is BackendState.DOWN else CONNECT_SECONDS)
        return self._seen(backend)

    async def change(
        self,
        principal: Principal,
        key: str,
        *,
        state: BackendState | None,
        weight: int | None,
        labels: Mapping[str, str] | None,
    ) -> SeenBackend:
        principal.require(Scope.BACKENDS)
        backend = await self._catalog.change(
            principal.tenant_id, lambda door: door.change_backend(key, state=state, weight=weight, labels=labels)
        )
        await self._dispatch.attach(backend)
        return self._seen(backend)

    async def history(self, principal: Principal, key: str, limit: int) -> list[ConditionChange]:
        """What became of a backend, the latest first."""
        return await self._store.read(lambda session: session.tenant(principal.tenant_id).conditions(key, limit))

    async def delete(self, principal: Principal, key: str) -> None:
        principal.require(Scope.BACKENDS)
        backend = await self._catalog.change(principal.tenant_id, lambda door: door.delete_backend(key))
        await self._dispatch.detach(backend)

    async def free(self, principal: Principal, *, cache: bool, models: bool) -> None:
        """Has the tenant's own backends drop what they remember of runs, or ``models`` alone, as soon as nothing runs there. What
        others use too keeps its memory."""
        principal.require(Scope.BACKENDS)
        if cache or models:
            await self._dispatch.free(principal.tenant_id, cache=cache, models=models)

    def _resolve(self, instance_id: str, url: str | None) -> str:
        check_instance(instance_id, "instance_id")
        if url is not None:
            return clean_url(url)
        if is_url(instance_id):
            return clean_url(instance_id)
        if instance_id in self._configured:
            return clean_url(self._configured[instance_id])
        raise Fault("backend_unresolvable", f"no address is known for '{instance_id}'", field="instance_id")

    def _seen(self, backend: Backend) -> SeenBackend:
        return SeenBackend(backend, self._dispatch.health(backend.id))


def check_instance(name: str, field: str) -> None:
    """Raises:
    Fault: ``invalid_body`` when no backend can be called so.
    """
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise Fault("invalid_body", f"{field} is 1 to {MAX_NAME} printable characters", field=field)


async def probe(dispatch: Dispatch, backend: Backend) -> None:
    """Raises:
    Fault: ``backend_unreachable`` or ``not_comfyui``.
    """
    try:
        await dispatch.probe(backend)
    except WrongServer as error:
        raise Fault("not_comfyui", error.message, field="url") from error
    except Unreachable as error:
        raise Fault("backend_unreachable", error.message, field="url") from error
