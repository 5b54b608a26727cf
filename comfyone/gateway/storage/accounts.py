"""Tenants and keys."""

from __future__ import annotations

from comfyone.errors import Fault
from comfyone.gateway.domain.tenants import KEY_PREFIX, ApiKey, Tenant, TenantPolicy, hint_of
from comfyone.gateway.storage.rows import KEY, TENANT, json_text, key_of, policy_text, tenant_of
from comfyone.gateway.storage.sql import Sql

__all__ = ["SqlAccounts"]


class SqlAccounts:
    """See `comfyone.gateway.ports.Accounts`."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def tenants(self) -> list[Tenant]:
        return [tenant_of(row) for row in self._sql.all(f"SELECT {TENANT} FROM tenants ORDER BY name")]

    def tenant(self, name: str) -> Tenant | None:
        row = self._sql.one(f"SELECT {TENANT} FROM tenants WHERE name = ?", (name,))
        return tenant_of(row) if row else None

    def tenant_by_id(self, tenant_id: str) -> Tenant:
        row = self._sql.one(f"SELECT {TENANT} FROM tenants WHERE id = ?", (tenant_id,))
        assert row is not None
        return tenant_of(row)

    def add_tenant(self, tenant: Tenant) -> Tenant:
        """Raises:
        Fault: ``conflict`` when the name is taken.
        """
        added = self._sql.run(
            "INSERT INTO tenants (id, name, policy, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (tenant.id, tenant.name, policy_text(tenant.policy), tenant.created_at),
        )
        if not added:
            raise Fault("conflict", f"there is a tenant '{tenant.name}' already", field="name")
        return tenant

    def set_policy(self, tenant_id: str, policy: TenantPolicy) -> Tenant:
        self._sql.run("UPDATE tenants SET policy = ? WHERE id = ?", (policy_text(policy), tenant_id))
        return self.tenant_by_id(tenant_id)

    def keys(self, tenant_id: str) -> list[ApiKey]:
        rows = self._sql.all(f"SELECT {KEY} FROM api_keys WHERE tenant_id = ? ORDER BY id", (tenant_id,))
        return [key_of(row) for row in rows]

    def add_key(self, key: ApiKey, hash: str) -> None:
        self._sql.run(
            "INSERT INTO api_keys (id, tenant_id, name, hash, hint, scopes, workflows, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key.id,
                key.tenant_id,
                key.name,
                hash,
                key.hint,
                " ".join(sorted(key.scopes)),
                json_text(key.workflows) if key.workflows is not None else None,
                key.created_at,
                key.expires_at,
            ),
        )

    def key_by_hash(self, hash: str) -> ApiKey | None:
        row = self._sql.one(f"SELECT {KEY} FROM api_keys WHERE hash = ?", (hash,))
        return key_of(row) if row else None

    def revoke_key(self, id_or_hint: str, now: float) -> ApiKey:
        """Raises:
        Fault: ``not_found``, or ``conflict`` when several keys begin so.
        """
        rows = self._sql.all(f"SELECT {KEY} FROM api_keys WHERE id = :key OR hint = :key", {"key": id_or_hint})
        if not rows:
            raise Fault("not_found", f"no key '{_shown(id_or_hint)}'", field="key")
        if len(rows) > 1:
            raise Fault(
                "conflict",
                f"{len(rows)} keys begin with '{_shown(id_or_hint)}'",
                field="key",
                hint="name the key by its id",
            )
        self._sql.run("UPDATE api_keys SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ?", (now, rows[0][0]))
        return key_of((*rows[0][:7], rows[0][7] or now, rows[0][8]))


def _shown(id_or_hint: str) -> str:
    """What was given, unless it is a whole key: that must not stand in an answer."""
    return hint_of(id_or_hint) + "…" if id_or_hint.startswith(KEY_PREFIX) else id_or_hint
