"""How many bytes a tenant may keep, and how many it does: counted from its rows, but not all of them every time."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Asset
from comfyone.gateway.domain.tenants import Principal
from comfyone.gateway.ports import Store, TenantDoor

__all__ = ["Quota"]

SETTLED = 20.0
"""Seconds after which no row can appear any more that says that it is older: a commit takes less."""

RECOUNT = 60.0
"""Seconds for which a count of all rows is good: until then only what came since is counted, and added."""

GLANCE = 2.0
"""Seconds for which what was found is good enough to take a job, whose results count only when they come, and for refusing
an upload of which nothing has been read."""

MAX_TENANTS = 10_000


@dataclass(frozen=True, slots=True)
class _Count:
    """The bytes of a tenant at a moment (seconds since the epoch)."""

    bytes: int
    at: float


class Quota:
    """``most`` is what a tenant may keep whose policy does not say; None: as much as it likes.

    An upper bound is at hand in no time: an earlier count and what came since. Only when that is too much are all rows
    counted anew, which also notices what was deleted (a tenth of a second for 300,000 files).
    """

    def __init__(self, store: Store, most: int | None, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._most = most
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._glances: OrderedDict[str, _Count] = OrderedDict()

    def most(self, principal: Principal) -> int | None:
        """Bytes that a tenant may keep."""
        own = principal.policy.max_bytes
        return self._most if own is None else own

    async def require_any(self, principal: Principal) -> None:
        """Before a job is queued: whether the tenant has not more than it may already. As it was found a moment ago.

        Raises:
            Fault: ``quota_exceeded``.
        """
        most, glance = self.most(principal), self._glances.get(principal.tenant_id)
        if most is None or (glance and glance.bytes <= most and self._clock() - glance.at < GLANCE):
            return
        left = await self._room(principal, 0)
        _keep(self._glances, principal.tenant_id, _Count(most - int(left), self._clock()))

    async def require_room(self, principal: Principal, size: int) -> None:
        """Before anything is read: whether so many bytes more might be kept.

        Raises:
            Fault: ``quota_exceeded``.
        """
        await self._room(principal, size)

    async def bounded(self, principal: Principal, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks, up to the one that is too many; then as `require_room`."""
        room, size = await self._room(principal, 0), 0
        async for chunk in chunks:
            size += len(chunk)
            if size > room:
                room = await self._room(principal, size)
            yield chunk

    def admit(self, principal: Principal, door: TenantDoor, asset: Asset) -> None:
        """Inside the transaction that adds an asset: whether it may be added. This is the check that is exact.

        It changes what is remembered, which is no harm when the transaction is undone: the bound is one all the same.

        Raises:
            Fault: ``quota_exceeded``.
        """
        most = self.most(principal)
        if most is None or door.holds(asset.hash) or self._bound(principal, door) + asset.size <= most:
            return
        if self._count(principal, door) + asset.size > most:
            raise self._exceeded(principal)

    def forget(self, tenant_id: str) -> None:
        """Has a tenant's bytes counted anew: some were deleted."""
        self._counts.pop(tenant_id, None)

    async def _room(self, principal: Principal, size: int) -> float:
        """How many bytes more may come, at least; ``size`` of them must."""
        most = self.most(principal)
        if most is None:
            return math.inf
        used = await self._store.read(lambda session: self._used(principal, session.tenant(principal.tenant_id), size))
        if used + size > most:
            raise self._exceeded(principal)
        return most - used

    def _used(self, principal: Principal, door: TenantDoor, size: int) -> int:
        most, bound = self.most(principal), self._bound(principal, door)
        if most is None or bound + size <= most:
            return bound
        known = self._counts.get(principal.tenant_id)
        return known.bytes if known and self._clock() - known.at < GLANCE else self._count(principal, door)

    def _bound(self, principal: Principal, door: TenantDoor) -> int:
        known = self._counts.get(principal.tenant_id)
        if known is None or self._clock() - known.at > RECOUNT:
            return self._count(principal, door)
        return known.bytes + door.bytes_held(after=known.at - SETTLED)

    def _count(self, principal: Principal, door: TenantDoor) -> int:
        count = _Count(door.bytes_held(), self._clock())
        _keep(self._counts, principal.tenant_id, count)
        return count.bytes

    def _exceeded(self, principal: Principal) -> Fault:
        return Fault("quota_exceeded", f"the files of this tenant may have {self.most(principal):,} bytes together")


def _keep(counts: OrderedDict[str, _Count], tenant_id: str, count: _Count) -> None:
    counts[tenant_id] = count
    if len(counts) > MAX_TENANTS:
        counts.popitem(last=False)
