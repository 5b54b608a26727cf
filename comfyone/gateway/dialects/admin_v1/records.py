"""The records that administration answers with."""

from __future__ import annotations

from typing import Any

import msgspec

from comfyone.gateway.dialects.moments import moment
from comfyone.gateway.domain.audit import AuditEntry
from comfyone.gateway.domain.tenants import ApiKey, Tenant

__all__ = ["AuditRecord", "IssuedKeyRecord", "KeyRecord", "TenantRecord", "audit_record", "key_facts", "tenant_record"]


class TenantRecord(msgspec.Struct, frozen=True):
    id: str
    name: str
    created_at: str
    weight: float
    max_queued: int | None
    max_running: int | None
    max_per_minute: int | None
    max_bytes: int | None
    max_backend_seconds: float | None
    withheld: list[str]
    allowed_classes: list[str] | None
    denied_classes: list[str]


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    hint: str
    tenant: str
    name: str
    scopes: list[str]
    workflows: list[str] | None
    created_at: str
    expires: str | None
    revoked: str | None


class IssuedKeyRecord(KeyRecord, frozen=True, kw_only=True):
    """The one answer that holds a key."""

    key: str


class AuditRecord(msgspec.Struct, frozen=True):
    id: str
    at: str
    actor: str
    tenant: str | None
    action: str
    subject: str
    detail: dict[str, Any]


def tenant_record(tenant: Tenant) -> TenantRecord:
    policy = tenant.policy
    allowed = policy.allowed_classes
    return TenantRecord(
        id=tenant.id,
        name=tenant.name,
        created_at=moment(tenant.created_at),
        weight=policy.weight,
        max_queued=policy.max_queued,
        max_running=policy.max_running,
        max_per_minute=policy.max_per_minute,
        max_bytes=policy.max_bytes,
        max_backend_seconds=policy.max_backend_seconds,
        withheld=sorted(policy.withheld),
        allowed_classes=None if allowed is None else sorted(allowed),
        denied_classes=sorted(policy.denied_classes),
    )


def key_facts(key: ApiKey, tenant: str) -> dict[str, Any]:
    """The fields of a `KeyRecord`."""
    return {
        "id": key.id,
        "hint": key.hint,
        "tenant": tenant,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "workflows": None if key.workflows is None else list(key.workflows),
        "created_at": moment(key.created_at),
        "expires": moment(key.expires_at) if key.expires_at else None,
        "revoked": moment(key.revoked_at) if key.revoked_at else None,
    }


def audit_record(entry: AuditEntry) -> AuditRecord:
    return AuditRecord(
        entry.id, moment(entry.at), entry.actor, entry.tenant, entry.action, entry.subject, dict(entry.detail)
    )
