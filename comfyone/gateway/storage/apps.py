"""How a tenant's apps choose among their backends, where that was set."""

from __future__ import annotations

from comfyone.errors import Fault
from comfyone.gateway.domain.apps import AppPolicy, Selection
from comfyone.gateway.storage.sql import Sql

__all__ = ["app_policy", "set_app_policy"]

MAX_APPS = 1000
"""Apps of a tenant that may have a policy of their own."""


def app_policy(sql: Sql, tenant_id: str, app_id: str) -> AppPolicy:
    row = sql.one("SELECT policy, most FROM app_policies WHERE tenant_id = ? AND app_id = ?", (tenant_id, app_id))
    return AppPolicy(Selection(row[0]), row[1]) if row else AppPolicy()


def set_app_policy(sql: Sql, tenant_id: str, app_id: str, policy: AppPolicy) -> None:
    """Raises:
    Fault: ``conflict`` when too many apps have one.
    """
    changed = sql.run(
        "UPDATE app_policies SET policy = ?, most = ? WHERE tenant_id = ? AND app_id = ?",
        (policy.policy_type, policy.limit, tenant_id, app_id),
    )
    if changed:
        return
    count = sql.one("SELECT COUNT(*) FROM app_policies WHERE tenant_id = ?", (tenant_id,))
    if count and count[0] >= MAX_APPS:
        raise Fault("conflict", f"{MAX_APPS:,} apps have a policy of their own already", hint="use fewer apps")
    sql.run(
        "INSERT INTO app_policies (tenant_id, app_id, policy, most) VALUES (?, ?, ?, ?)",
        (tenant_id, app_id, policy.policy_type, policy.limit),
    )
