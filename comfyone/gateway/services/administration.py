"""What an operator does over HTTP: tenants, their keys, and the log of it all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from comfyone.gateway.domain.audit import AuditEntry
from comfyone.gateway.domain.tenants import ApiKey, Principal, Scope, Tenant
from comfyone.gateway.ports import Session, Store
from comfyone.gateway.services.accounts import (
    IssuedKey,
    change_tenant,
    find_tenant,
    issue_key,
    make_tenant,
    revoke_key,
)

__all__ = ["Administration", "TenantKeys"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TenantKeys:
    """A tenant, and its keys in the order in which they were made."""

    tenant: Tenant
    keys: list[ApiKey]


class Administration:
    """Every method needs the scope ``admin``; everything that changes is noted in the audit log."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tenants(self, principal: Principal) -> list[Tenant]:
        return await self._read(principal, lambda session: session.accounts.tenants())

    async def tenant(self, principal: Principal, name: str) -> Tenant:
        return await self._read(principal, lambda session: find_tenant(session, name))

    async def create_tenant(self, principal: Principal, name: str, policy: Mapping[str, Any]) -> Tenant:
        return await self._write(principal, lambda session: make_tenant(session, name, policy, actor=principal.actor))

    async def change_tenant(self, principal: Principal, name: str, policy: Mapping[str, Any]) -> Tenant:
        return await self._write(principal, lambda session: change_tenant(session, name, policy, actor=principal.actor))

    async def keys(self, principal: Principal, tenant: str) -> TenantKeys:
        def query(session: Session) -> TenantKeys:
            owner = find_tenant(session, tenant)
            return TenantKeys(owner, session.accounts.keys(owner.id))

        return await self._read(principal, query)

    async def issue_key(
        self,
        principal: Principal,
        tenant: str,
        *,
        name: str,
        scopes: frozenset[Scope],
        workflows: tuple[str, ...] | None,
        expires_at: float | None,
    ) -> IssuedKey:
        """Unlike the command line's, this makes no tenant."""

        def command(session: Session) -> IssuedKey:
            return issue_key(
                session,
                find_tenant(session, tenant).name,
                scopes=scopes,
                name=name,
                expires_at=expires_at,
                workflows=workflows,
                actor=principal.actor,
            )

        return await self._write(principal, command)

    async def revoke_key(self, principal: Principal, id_or_hint: str) -> ApiKey:
        return await self._write(principal, lambda session: revoke_key(session, id_or_hint, actor=principal.actor))

    async def audit(self, principal: Principal, after: str | None, limit: int) -> list[AuditEntry]:
        """Newest first; those that come ``after`` the one of this id."""
        return await self._read(principal, lambda session: session.audit.entries(after, limit))

    async def _read(self, principal: Principal, query: Callable[[Session], T]) -> T:
        principal.require(Scope.ADMIN)
        return await self._store.read(query)

    async def _write(self, principal: Principal, command: Callable[[Session], T]) -> T:
        principal.require(Scope.ADMIN)
        return await self._store.write(command)
