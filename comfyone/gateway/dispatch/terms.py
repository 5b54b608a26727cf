"""What the operator grants tenants and pools, kept in memory for a moment: placement asks for it all the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from comfyone.gateway.domain.placement import Policy
from comfyone.gateway.domain.tenants import TenantPolicy
from comfyone.gateway.ports import Session

__all__ = ["Terms"]

T = TypeVar("T")

SECONDS = 1.0
"""How late a change takes effect, at most."""

MAX_KEPT = 10_000


class Terms:
    def __init__(self) -> None:
        self._tenants: dict[str, tuple[float, TenantPolicy]] = {}
        self._pools: dict[str, tuple[float, Policy]] = {}

    def tenant(self, session: Session, tenant_id: str) -> TenantPolicy:
        return _fresh(self._tenants, tenant_id, lambda: session.accounts.tenant_by_id(tenant_id).policy)

    def pool(self, session: Session, pool_id: str) -> Policy:
        return _fresh(self._pools, pool_id, lambda: Policy(session.engine.pool_policy(pool_id) or Policy.LEAST_BUSY))


def _fresh(kept: dict[str, tuple[float, T]], key: str, read: Callable[[], T]) -> T:
    now = time.monotonic()
    entry = kept.get(key)
    if entry is None or entry[0] < now:
        if len(kept) >= MAX_KEPT:
            kept.clear()
        entry = kept[key] = (now + SECONDS, read())
    return entry[1]
