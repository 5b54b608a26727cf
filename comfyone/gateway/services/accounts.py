"""Tenants and keys: making them, and telling by a key who is asking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.domain.audit import COMMAND_LINE, FIRST_START
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.policies import changed_policy
from comfyone.gateway.domain.tenants import (
    ALL_BUT_ADMIN,
    ApiKey,
    Principal,
    Scope,
    Tenant,
    TenantPolicy,
    check_tenant_name,
    hash_key,
    hint_of,
    new_key,
    principal_of,
)
from comfyone.gateway.ports import Session, Store
from comfyone.gateway.services.audit import note

__all__ = [
    "Authenticator",
    "IssuedKey",
    "bootstrap",
    "change_tenant",
    "find_tenant",
    "issue_key",
    "make_tenant",
    "revoke_key",
    "visitor_key",
]

CACHE_SECONDS = 1.0
"""How long a key that was good may still be taken as good: the delay with which a revocation, or a change of its
tenant's policy, takes effect."""

RECHECK_SECONDS = 2.0
"""How long an open stream outlives its key at most, give or take."""

MAX_CACHED = 10_000
MAX_KEY_NAME = 200

Found = tuple[ApiKey, Principal]


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key: the one moment at which its text exists."""

    key: str
    record: ApiKey
    tenant: Tenant

    def __repr__(self) -> str:
        return f"IssuedKey({self.record.hint}…, tenant={self.tenant.name!r})"


class Authenticator:
    """Tells who holds a key. Keys are looked up by their hash, so a lookup tells nothing about the key by its timing.

    ``visitor`` is a key that is good for as long as this process lives, and stored nowhere.
    """

    def __init__(self, store: Store, visitor: IssuedKey | None = None) -> None:
        self._store = store
        self._visitor = visitor
        self._visitor_hash = hash_key(visitor.key) if visitor else None
        self._known: dict[str, tuple[float, Found]] = {}

    async def authenticate(self, key: str | None) -> Principal:
        """Raises:
        Fault: ``missing_key``, ``invalid_key``, ``revoked_key`` or ``expired_key``; none of them repeats the key.
        """
        if not key:
            raise Fault("missing_key", "no API key was sent")
        found = await self._find(hash_key(key))
        now = time.time()
        if found is None:
            raise Fault("invalid_key", "the API key is not known")
        record, principal = found
        if record.revoked_at is not None:
            raise Fault("revoked_key", f"the API key {record.hint}… was revoked")
        if record.expires_at is not None and record.expires_at <= now:
            raise Fault("expired_key", f"the API key {record.hint}… has expired")
        return principal

    async def until_lapsed(self, key: str | None) -> Fault:
        """Returns why a key is no longer good, when it was revoked or has expired; for what stays open long."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                await self.authenticate(key)
            except Fault as fault:
                return fault

    async def _find(self, hash: str) -> Found | None:
        now = time.monotonic()
        cached = self._known.get(hash)
        if cached and cached[0] > now:
            return cached[1]
        found = await self._store.read(lambda session: self._holder(session, hash))
        self._known.pop(hash, None)
        if found and found[0].revoked_at is None:
            if len(self._known) >= MAX_CACHED:
                self._known.pop(next(iter(self._known)))
            self._known[hash] = (now + CACHE_SECONDS, found)
        return found

    def _holder(self, session: Session, hash: str) -> Found | None:
        visitor = self._visitor if hash == self._visitor_hash else None
        key = visitor.record if visitor else session.accounts.key_by_hash(hash)
        return (key, principal_of(key, session.accounts.tenant_by_id(key.tenant_id).policy)) if key else None


def find_tenant(session: Session, name: str) -> Tenant:
    """Raises:
    Fault: ``not_found``.
    """
    tenant = session.accounts.tenant(name)
    if tenant is None:
        raise Fault("not_found", f"no tenant '{name}'", field="tenant")
    return tenant


def make_tenant(
    session: Session, name: str, policy: Mapping[str, Any] | None = None, *, actor: str = COMMAND_LINE
) -> Tenant:
    """A new tenant; ``policy`` holds what differs from the default, see `changed_policy`.

    Raises:
        Fault: ``conflict`` when there is one of that name; ``invalid_body`` naming what doesn't fit.
    """
    granted = changed_policy(TenantPolicy(), policy or {})
    tenant = session.accounts.add_tenant(Tenant(new_id(), check_tenant_name(name), time.time(), granted))
    note(session, actor, "tenant.create", name, tenant.id, policy=dict(policy) if policy else None)
    return tenant


def change_tenant(session: Session, name: str, policy: Mapping[str, Any], *, actor: str = COMMAND_LINE) -> Tenant:
    """Changes fields of a tenant's policy; None puts one back to its default.

    Raises:
        Fault: ``not_found``; ``invalid_body`` naming what doesn't fit.
    """
    tenant = find_tenant(session, name)
    changed = session.accounts.set_policy(tenant.id, changed_policy(tenant.policy, policy))
    note(session, actor, "tenant.change", name, tenant.id, policy=dict(policy))
    return changed


def issue_key(
    session: Session,
    tenant: str,
    *,
    scopes: frozenset[Scope],
    name: str = "",
    expires_at: float | None = None,
    workflows: tuple[str, ...] | None = None,
    key: str | None = None,
    actor: str = COMMAND_LINE,
) -> IssuedKey:
    """Makes a key for a tenant, and the tenant if there is none of that name.

    Raises:
        Fault: ``invalid_body`` when the key's name or its end makes no sense.
    """
    if len(name) > MAX_KEY_NAME or not name.isprintable():
        raise Fault("invalid_body", f"a key's name has at most {MAX_KEY_NAME} printable characters", field="name")
    owner = session.accounts.tenant(check_tenant_name(tenant)) or make_tenant(session, tenant, actor=actor)
    text = key or new_key()
    record = ApiKey(new_id(), owner.id, name, hint_of(text), scopes, time.time(), expires_at, None, workflows)
    session.accounts.add_key(record, hash_key(text))
    facts = {"name": name or None, "scopes": sorted(scopes), "workflows": workflows, "expires_at": expires_at}
    note(session, actor, "key.create", _subject(record), owner.id, **facts)
    return IssuedKey(text, record, owner)


def revoke_key(session: Session, id_or_hint: str, *, actor: str = COMMAND_LINE) -> ApiKey:
    """Raises:
    Fault: ``not_found``, or ``conflict`` when several keys begin so.
    """
    revoked = session.accounts.revoke_key(id_or_hint, time.time())
    note(session, actor, "key.revoke", _subject(revoked), revoked.tenant_id)
    return revoked


def _subject(key: ApiKey) -> str:
    return f"{key.hint}… {key.id}"


def visitor_key(session: Session, tenant: str) -> IssuedKey:
    """A key of a tenant that is not stored, for an `Authenticator` of this process; makes the tenant if need be."""
    owner = session.accounts.tenant(check_tenant_name(tenant)) or make_tenant(session, tenant, actor=FIRST_START)
    text = new_key()
    record = ApiKey(new_id(), owner.id, "no key", hint_of(text), ALL_BUT_ADMIN, time.time(), None, None)
    return IssuedKey(text, record, owner)


def bootstrap(session: Session, key: str) -> None:
    """Gives a first start a tenant ``default`` with this key, once."""
    if session.accounts.key_by_hash(hash_key(key)) is None:
        issue_key(session, "default", scopes=frozenset(Scope), name="bootstrap", key=key, actor=FIRST_START)
