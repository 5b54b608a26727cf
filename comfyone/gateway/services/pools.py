"""How a tenant's own pool, or any, chooses among its backends."""

from __future__ import annotations

from dataclasses import dataclass

from comfyone.gateway.domain.backends import SHARED_POOL
from comfyone.gateway.domain.placement import Policy
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.ports import Session, Store
from comfyone.gateway.services.accounts import find_tenant
from comfyone.gateway.services.audit import note

__all__ = ["Pool", "Pools"]


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as it is called: ``shared``, or the name of the tenant whose backends it holds."""

    name: str
    policy: Policy


class Pools:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def own(self, principal: Principal) -> Pool:
        return await self._store.read(lambda session: _pool(session, *_own(session, principal)))

    async def set_own(self, principal: Principal, policy: Policy) -> Pool:
        principal.require(Scope.BACKENDS)
        return await self._store.write(
            lambda session: _set(session, *_own(session, principal), policy, principal.actor)
        )

    async def get(self, principal: Principal, name: str) -> Pool:
        """Raises:
        Fault: ``not_found`` when no tenant has that name.
        """
        principal.require(Scope.ADMIN)
        return await self._store.read(lambda session: _pool(session, name, _id_of(session, name)))

    async def set(self, principal: Principal, name: str, policy: Policy) -> Pool:
        """Raises:
        Fault: ``not_found`` when no tenant has that name.
        """
        principal.require(Scope.ADMIN)
        return await self._store.write(
            lambda session: _set(session, name, _id_of(session, name), policy, principal.actor)
        )


def _own(session: Session, principal: Principal) -> tuple[str, str]:
    return session.accounts.tenant_by_id(principal.tenant_id).name, principal.tenant_id


def _id_of(session: Session, name: str) -> str:
    return SHARED_POOL if name == SHARED_POOL else find_tenant(session, name).id


def _pool(session: Session, name: str, pool_id: str) -> Pool:
    return Pool(name, session.pools.policy(pool_id))


def _set(session: Session, name: str, pool_id: str, policy: Policy, actor: str) -> Pool:
    session.pools.set_policy(pool_id, policy)
    note(session, actor, "pool.change", name, None if pool_id == SHARED_POOL else pool_id, policy=policy)
    return Pool(name, policy)
