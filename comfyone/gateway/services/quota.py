"""How many bytes a tenant may keep, and how many it does: counted from its rows, but not all of them every time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Asset
from comfyone.gateway.domain.tenants import Principal
from comfyone.gateway.ports import Store, TenantDoor

__all__ = ["Quota"]

SETTLED = 60.0
"""Seconds after which no row can appear any more that says that it is older."""

RECOUNT = 60.0
"""Seconds for which a count of the rows that had settled is good: until then only what came since is counted."""

GLANCE = 2.0
"""Seconds for which a count that was refused by is good for refusing more, before anything is read."""

MAX_TENANTS = 10_000


@dataclass(frozen=True, slots=True)
class _Count:
    """Bytes of a tenant: ``settled`` of rows up to ``until``, and ``all`` there were when they were counted."""

    at: float
    until: float
    settled: int
    all: int


class Quota:
    """``most`` is what a tenant may keep whose policy does not say; None: as much as it likes.

    What is known of a tenant is an upper bound: files that are deleted are noticed by the next count, which is made at
    the latest when the bound says no.
    """

    def __init__(self, store: Store, most: int | None) -> None:
        self._store = store
        self._most = most
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def most(self, principal: Principal) -> int | None:
        """Bytes that a tenant may keep."""
        own = principal.policy.max_bytes
        return self._most if own is None else own

    async def room(self, principal: Principal) -> int | None:
        """Bytes that a tenant may still add, as of a moment ago; negative when it has more than it may keep. None: any."""
        most, tenant_id = self.most(principal), principal.tenant_id
        if most is None:
            return None
        known = self._counts.get(tenant_id)
        if known is None or time.time() - known.at > GLANCE:
            known = await self._store.read(lambda session: self._count(tenant_id, session.tenant(tenant_id)))
        return most - known.all

    async def require_room(self, principal: Principal, size: int) -> None:
        """Raises:
        Fault: ``quota_exceeded`` when so many bytes more are too many.
        """
        room = await self.room(principal)
        if room is not None and size > room:
            raise self._exceeded(principal)

    async def bounded(self, principal: Principal, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks, up to the one that is too many; then as `require_room`."""
        room, size = await self.room(principal), 0
        async for chunk in chunks:
            size += len(chunk)
            if room is not None and size > room:
                raise self._exceeded(principal)
            yield chunk

    def admit(self, principal: Principal, door: TenantDoor, asset: Asset) -> None:
        """Inside the transaction that adds an asset: whether it may be added. This is the check that is exact.

        It changes what is remembered, which is no harm when the transaction is run again: it is a bound in any case.

        Raises:
            Fault: ``quota_exceeded``.
        """
        most = self.most(principal)
        if most is None or door.holds(asset.hash) or self._bound(principal.tenant_id, door) + asset.size <= most:
            return
        if self._count(principal.tenant_id, door).all + asset.size > most:
            raise self._exceeded(principal)

    def forget(self, tenant_id: str) -> None:
        """Has a tenant's bytes counted anew: some were deleted."""
        self._counts.pop(tenant_id, None)

    def _bound(self, tenant_id: str, door: TenantDoor) -> int:
        known = self._counts.get(tenant_id)
        if known is None or time.time() - known.at > RECOUNT:
            return self._count(tenant_id, door).all
        return known.settled + door.bytes_held(after=known.until)

    def _count(self, tenant_id: str, door: TenantDoor) -> _Count:
        now = time.time()
        until = now - SETTLED
        count = _Count(now, until, door.bytes_held(until=until), door.bytes_held())
        self._counts[tenant_id] = count
        if len(self._counts) > MAX_TENANTS:
            self._counts.popitem(last=False)
        return count

    def _exceeded(self, principal: Principal) -> Fault:
        return Fault("quota_exceeded", f"the files of this tenant may have {self.most(principal):,} bytes together")
