"""How pools choose among their backends, and a tenant's own routes for it."""

from __future__ import annotations

import msgspec

from comfyone.gateway.dialects.routing import Call, Route
from comfyone.gateway.domain.placement import Policy
from comfyone.gateway.services.pools import Pool

__all__ = ["POOL_ROUTES", "PoolBody", "PoolRecord", "pool_record"]


class PoolBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    policy: Policy


class PoolRecord(msgspec.Struct, frozen=True):
    name: str
    policy: str


def pool_record(pool: Pool) -> PoolRecord:
    return PoolRecord(pool.name, pool.policy)


async def get_own_pool(call: Call) -> PoolRecord:
    return pool_record(await call.services.pools.own(call.principal))


async def set_own_pool(call: Call) -> PoolRecord:
    body: PoolBody = await call.body()
    return pool_record(await call.services.pools.set_own(call.principal, body.policy))


POOL_ROUTES = (
    Route("GET", "/v1/pool", get_own_pool, "How jobs are spread over the tenant's own backends", answer=PoolRecord),
    Route(
        "PUT",
        "/v1/pool",
        set_own_pool,
        "Change how jobs are spread over the tenant's own backends",
        PoolBody,
        PoolRecord,
        faults=("scope_missing",),
    ),
)
