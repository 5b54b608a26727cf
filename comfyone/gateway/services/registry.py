"""A tenant's backends by app: registering, moving and choosing them."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from comfyone.errors import Fault
from comfyone.gateway.domain.apps import APP, AppPolicy, Selection, app_of, check_app_id, select
from comfyone.gateway.domain.backends import Backend, BackendState, find_backend
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.ports import Session, Store, TenantDoor
from comfyone.gateway.services.backends import Backends

__all__ = ["Registry"]

T = TypeVar("T")

MAX_TURNS = 10_000
"""Apps whose turn is remembered."""


class Registry:
    """Whose turn it is, is remembered as long as the process lives."""

    def __init__(self, store: Store, backends: Backends) -> None:
        self._store = store
        self._backends = backends
        self._turns: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def add(
        self, principal: Principal, app_id: str, instance_id: str, *, url: str | None, weight: int, state: BackendState
    ) -> tuple[Backend, AppPolicy]:
        """Raises:
        Fault: ``conflict`` when it is registered, for whatever app; and as `Backends.register`.
        """
        labels = {APP: check_app_id(app_id)}
        seen = await self._backends.register(
            principal, instance_id, url=url, weight=weight, labels=labels, state=state, new=True
        )
        return seen.backend, await self._read(principal, lambda door: door.app_policy(app_id))

    async def all(self, principal: Principal) -> list[Backend]:
        """Those of all apps."""
        return await self._read(principal, lambda door: [one for one in door.backends() if app_of(one) is not None])

    async def of(self, principal: Principal, app_id: str) -> list[Backend]:
        """Raises:
        Fault: ``not_found`` when no backend has the app.
        """
        return await self._read(principal, lambda door: _of(door, app_id))

    async def choose(self, principal: Principal, app_id: str, selection: Selection | None = None) -> list[Backend]:
        """What the app's policy chooses, or another way to choose in its place.

        Raises:
            Fault: ``not_found`` when that is none.
        """
        backends, policy = await self._read(principal, lambda door: (_of(door, app_id), door.app_policy(app_id)))
        key = (principal.tenant_id, app_id)
        policy = policy if selection is None else replace(policy, policy_type=selection)
        chosen = select(backends, policy, self._turns.get(key, 0), random.shuffle)
        if not chosen:
            raise Fault("not_found", f"no backend of app '{app_id}' is active", field="app_id")
        if policy.policy_type is Selection.ROUND_ROBIN:
            self._turns[key] = self._turns.pop(key, 0) + len(chosen)
            if len(self._turns) > MAX_TURNS:
                self._turns.popitem(last=False)
        return chosen

    async def change(
        self,
        principal: Principal,
        app_id: str,
        key: str,
        *,
        state: BackendState | None = None,
        weight: int | None = None,
        new_app_id: str | None = None,
    ) -> Backend:
        """Raises:
        Fault: ``not_found`` when the app has no such backend.
        """
        found = await self._find(principal, app_id, key)
        moved = None if new_app_id is None else {**found.labels, APP: check_app_id(new_app_id, "new_app_id")}
        seen = await self._backends.change(principal, found.name, state=state, weight=weight, labels=moved)
        return seen.backend

    async def remove(self, principal: Principal, app_id: str, key: str) -> None:
        """Raises:
        Fault: ``not_found`` when the app has no such backend.
        """
        await self._backends.delete(principal, (await self._find(principal, app_id, key)).name)

    async def policy(self, principal: Principal, app_id: str) -> AppPolicy:
        """Raises:
        Fault: ``not_found`` when no backend has the app.
        """
        _, policy = await self._read(principal, lambda door: (_of(door, app_id), door.app_policy(app_id)))
        return policy

    async def set_policy(self, principal: Principal, app_id: str, policy: AppPolicy) -> None:
        """Raises:
        Fault: ``not_found`` when no backend has the app.
        """
        principal.require(Scope.BACKENDS)

        def command(session: Session) -> None:
            door = session.tenant(principal.tenant_id)
            _of(door, app_id)
            door.set_app_policy(app_id, policy)

        await self._store.write(command)

    async def _find(self, principal: Principal, app_id: str, key: str) -> Backend:
        """A backend of the app, by its name, ``instance_id``, url or id."""
        principal.require(Scope.BACKENDS)
        backends = await self._read(principal, lambda door: _of(door, app_id))
        return next((one for one in backends if one.id == key), None) or find_backend(backends, key)

    async def _read(self, principal: Principal, query: Callable[[TenantDoor], T]) -> T:
        return await self._store.read(lambda session: query(session.tenant(principal.tenant_id)))


def _of(door: TenantDoor, app_id: str) -> list[Backend]:
    found = [backend for backend in door.backends() if app_of(backend) == app_id]
    if not found:
        raise Fault("not_found", f"No backends found for app_id={app_id[:80]}", field="app_id")
    return found
