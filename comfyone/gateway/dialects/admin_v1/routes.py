"""The operations of administration; docs/reference/admin.md says what each means."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from starlette.responses import Response

from comfyone.errors import Fault
from comfyone.gateway.dialects.admin_v1.bodies import (
    NewKey,
    NewSharedBackend,
    NewTenant,
    SharedBackendChange,
    TenantChange,
    policy_of,
)
from comfyone.gateway.dialects.admin_v1.records import (
    AuditRecord,
    IssuedKeyRecord,
    KeyRecord,
    TenantRecord,
    audit_record,
    key_facts,
    tenant_record,
)
from comfyone.gateway.dialects.comfyone_v1.pools import PoolBody, PoolRecord, pool_record
from comfyone.gateway.dialects.comfyone_v1.records import BackendRecord, backend_record
from comfyone.gateway.dialects.comfyone_v1.usage import USAGE_QUERY, UsageRecord, usage_answer, usage_texts
from comfyone.gateway.dialects.routing import Call, Query, Route
from comfyone.gateway.domain.tenants import Scope, parse_scopes, parse_workflows

__all__ = ["ADMIN_ROUTES"]


# tenants


async def list_tenants(call: Call) -> list[TenantRecord]:
    return [tenant_record(tenant) for tenant in await call.services.administration.tenants(call.principal)]


async def create_tenant(call: Call) -> TenantRecord:
    body: NewTenant = await call.body()
    made = await call.services.administration.create_tenant(call.principal, body.name, policy_of(body))
    return tenant_record(made)


async def get_tenant(call: Call) -> TenantRecord:
    return tenant_record(await call.services.administration.tenant(call.principal, call.path("name")))


async def change_tenant(call: Call) -> TenantRecord:
    body: TenantChange = await call.body()
    return tenant_record(
        await call.services.administration.change_tenant(call.principal, call.path("name"), policy_of(body))
    )


# keys


async def list_keys(call: Call) -> list[KeyRecord]:
    found = await call.services.administration.keys(call.principal, call.path("name"))
    return [KeyRecord(**key_facts(key, found.tenant.name)) for key in found.keys]


async def create_key(call: Call) -> IssuedKeyRecord:
    body: NewKey = await call.body()
    issued = await call.services.administration.issue_key(
        call.principal,
        call.path("name"),
        name=body.name,
        scopes=parse_scopes(body.scopes),
        workflows=parse_workflows(body.workflows),
        expires_at=_expiry(body.expires),
    )
    return IssuedKeyRecord(key=issued.key, **key_facts(issued.record, issued.tenant.name))


def _expiry(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    if moment.timestamp() <= time.time():
        raise Fault("invalid_body", f"{moment.isoformat()} is over", field="expires", hint="name a time to come")
    return moment.timestamp()


async def revoke_key(call: Call) -> None:
    await call.services.administration.revoke_key(call.principal, call.path("id"))


# shared backends


async def list_shared_backends(call: Call) -> list[BackendRecord]:
    return [backend_record(seen) for seen in await call.services.shared_backends.all(call.principal)]


async def register_shared_backend(call: Call) -> BackendRecord:
    body: NewSharedBackend = await call.body()
    seen = await call.services.shared_backends.register(
        call.principal, body.name, url=body.url, weight=body.weight, labels=body.labels, state=body.state
    )
    return backend_record(seen)


async def get_shared_backend(call: Call) -> BackendRecord:
    return backend_record(await call.services.shared_backends.get(call.principal, call.path("name")))


async def change_shared_backend(call: Call) -> BackendRecord:
    body: SharedBackendChange = await call.body()
    seen = await call.services.shared_backends.change(
        call.principal, call.path("name"), state=body.state, weight=body.weight, labels=body.labels
    )
    return backend_record(seen)


async def delete_shared_backend(call: Call) -> None:
    await call.services.shared_backends.delete(call.principal, call.path("name"))


# pools


async def get_pool(call: Call) -> PoolRecord:
    return pool_record(await call.services.pools.get(call.principal, call.path("name")))


async def set_pool(call: Call) -> PoolRecord:
    body: PoolBody = await call.body()
    return pool_record(await call.services.pools.set(call.principal, call.path("name"), body.policy))


# reports


async def get_all_usage(call: Call) -> Response:
    tenant = call.request.query_params.get("tenant")
    question = await call.services.usage.question(call.principal, tenant, *usage_texts(call))
    return await usage_answer(call, question)


async def get_audit(call: Call) -> list[AuditRecord]:
    after = call.request.query_params.get("after") or None
    entries = await call.services.administration.audit(call.principal, after, call.number("limit"))
    return [audit_record(entry) for entry in entries]


def _route(
    method: str, path: str, handler: Any, summary: str, body: Any = None, answer: Any = None, **more: Any
) -> Route:
    return Route(method, f"/admin/v1{path}", handler, summary, body, answer, scope=Scope.ADMIN, **more)


ADMIN_ROUTES = (
    _route("GET", "/tenants", list_tenants, "All tenants", answer=list[TenantRecord]),
    _route("POST", "/tenants", create_tenant, "Make a tenant", NewTenant, TenantRecord, faults=("conflict",)),
    _route("GET", "/tenants/{name}", get_tenant, "A tenant", answer=TenantRecord, faults=("not_found",)),
    _route(
        "PATCH",
        "/tenants/{name}",
        change_tenant,
        "Change what a tenant is granted",
        TenantChange,
        TenantRecord,
        faults=("not_found",),
    ),
    _route("GET", "/tenants/{name}/keys", list_keys, "A tenant's keys", answer=list[KeyRecord], faults=("not_found",)),
    _route(
        "POST",
        "/tenants/{name}/keys",
        create_key,
        "Make a key; its text is in this answer and nowhere else",
        NewKey,
        IssuedKeyRecord,
        faults=("not_found",),
    ),
    _route("DELETE", "/keys/{id}", revoke_key, "Revoke a key", faults=("not_found", "conflict")),
    _route("GET", "/backends", list_shared_backends, "The shared backends", answer=list[BackendRecord]),
    _route(
        "POST",
        "/backends",
        register_shared_backend,
        "Register a backend for all tenants",
        NewSharedBackend,
        BackendRecord,
        faults=("backend_unreachable", "not_comfyui", "conflict"),
    ),
    _route(
        "GET",
        "/backends/{name:path}",
        get_shared_backend,
        "A shared backend",
        answer=BackendRecord,
        faults=("not_found",),
    ),
    _route(
        "PATCH",
        "/backends/{name:path}",
        change_shared_backend,
        "Change a shared backend's state, weight or labels",
        SharedBackendChange,
        BackendRecord,
        faults=("not_found",),
    ),
    _route("DELETE", "/backends/{name:path}", delete_shared_backend, "Remove a shared backend", faults=("not_found",)),
    _route("GET", "/pools/{name}", get_pool, "How a pool spreads its jobs", answer=PoolRecord, faults=("not_found",)),
    _route(
        "PUT",
        "/pools/{name}",
        set_pool,
        "Change how a pool spreads its jobs",
        PoolBody,
        PoolRecord,
        faults=("not_found",),
    ),
    _route(
        "GET",
        "/usage",
        get_all_usage,
        "What tenants have used",
        answer=list[UsageRecord],
        query=(*USAGE_QUERY, Query("tenant", "only this tenant's, by its name")),
        faults=("not_found",),
    ),
    _route(
        "GET",
        "/audit",
        get_audit,
        "Who administered what, newest first",
        answer=list[AuditRecord],
        query=(
            Query("after", "the id of the last entry of the page before"),
            Query("limit", "how many", int, 100, 1, 1000),
        ),
    ),
)
"""Every operation of administration: each needs the scope ``admin``."""
