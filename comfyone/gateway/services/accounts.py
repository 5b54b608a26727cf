"""Tenants and keys: making them, and telling by a key who is asking."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from comfyone.errors import Fault
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.tenants import ApiKey, Principal, Scope, Tenant, check_tenant_name, hash_key, new_key
from comfyone.gateway.ports import Session, Store

__all__ = ["Authenticator", "bootstrap", "issue_key", "make_tenant"]

CACHE_SECONDS = 1.0
"""How long a key that was good may still be taken as good: the delay with which a revocation takes effect."""

RECHECK_SECONDS = 2.0
"""How long an open stream outlives its key at most, give or take."""

MAX_CACHED = 10_000
HINT = 8


class Authenticator:
    """Tells who holds a key. Keys are looked up by their hash, so a lookup tells nothing about the key by its timing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[float, ApiKey]] = {}

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
        if found.revoked_at is not None:
            raise Fault("revoked_key", f"the API key {found.hint}… was revoked")
        if found.expires_at is not None and found.expires_at <= now:
            raise Fault("expired_key", f"the API key {found.hint}… has expired")
        return Principal(found.tenant_id, found.id, found.scopes)

    async def until_lapsed(self, key: str | None) -> Fault:
        """Returns why a key is no longer good, when it was revoked or has expired; for what stays open long."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                await self.authenticate(key)
            except Fault as fault:
                return fault

    async def _find(self, hash: str) -> ApiKey | None:
        now = time.monotonic()
        cached = self._known.get(hash)
        if cached and cached[0] > now:
            return cached[1]
        found = await self._store.read(lambda session: session.accounts.key_by_hash(hash))
        self._known.pop(hash, None)
        if found and found.revoked_at is None:
            if len(self._known) >= MAX_CACHED:
                self._known.pop(next(iter(self._known)))
            self._known[hash] = (now + CACHE_SECONDS, found)
        return found


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key: the one moment at which its text exists."""

    key: str
    record: ApiKey
    tenant: Tenant

    def __repr__(self) -> str:
        return f"IssuedKey({self.record.hint}…, tenant={self.tenant.name!r})"


def make_tenant(session: Session, name: str) -> Tenant:
    """Raises:
    Fault: ``conflict`` when there is one of that name.
    """
    return session.accounts.add_tenant(Tenant(new_id(), check_tenant_name(name), time.time()))


def issue_key(
    session: Session,
    tenant: str,
    *,
    scopes: frozenset[Scope],
    name: str = "",
    expires_at: float | None = None,
    key: str | None = None,
) -> IssuedKey:
    """Makes a key for a tenant, and the tenant if there is none of that name."""
    owner = session.accounts.tenant(check_tenant_name(tenant)) or make_tenant(session, tenant)
    text = key or new_key()
    record = ApiKey(new_id(), owner.id, name, text[:HINT], scopes, time.time(), expires_at, None)
    session.accounts.add_key(record, hash_key(text))
    return IssuedKey(text, record, owner)


def bootstrap(session: Session, key: str) -> None:
    """Gives a first start a tenant ``default`` with this key, once."""
    if session.accounts.key_by_hash(hash_key(key)) is None:
        issue_key(session, "default", scopes=frozenset(Scope), name="bootstrap", key=key)
