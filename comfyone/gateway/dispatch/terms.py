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
    """``max_running`` is the gateway's own limit, for tenants whose policy has none."""

    def __init__(self, max_running: int | None) -> None:
        self._max_running = max_running
        self._tenants: dict[str, tuple[float, TenantPolicy]] = {}
        self._pools: dict[str, tuple[float, Policy]] = {}

    def tenant(self, session: Session, tenant_id: str) -> TenantPolicy:
        return _fresh(self._tenants, tenant_id, lambda: session.accounts.tenant_by_id(tenant_id).policy)

    def room(self, session: Session, tenant_id: str) -> int | None:
        """How many more jobs of a tenant may run now, or None for any number."""
        own = self.tenant(session, tenant_id).max_running
        most = self._max_running if own is None else own
        return None if most is None else max(0, most - session.engine.running(tenant_id))

    def capped(self, tenant_id: str) -> bool:
        """Whether jobs of a tenant may wait for others of its own to end, as far as is known."""
        known = self._tenants.get(tenant_id)
        return self._max_running is not None or known is None or known[1].max_running is not None

    def pool(self, session: Session, pool_id: str) -> Policy:
        return _fresh(self._pools, pool_id, lambda: session.pools.policy(pool_id))


def _fresh(kept: dict[str, tuple[float, T]], key: str, read: Callable[[], T]) -> T:
    now = time.monotonic()
    entry = kept.get(key)
    if entry is None or entry[0] < now:
        if len(kept) >= MAX_KEPT:
            kept.clear()
        entry = kept[key] = (now + SECONDS, read())
    return entry[1]
