"""How many bytes a tenant may keep, and how many it does: counted from its rows, but not all of them every time."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

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
    counted anew, which also notices what was deleted. To count takes a second for a million files, so a thread does it
    wherever that can be waited for, or need not be.
    """

    def __init__(self, store: Store, most: int | None, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._most = most
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._glances: OrderedDict[str, _Count] = OrderedDict()
        self._counting: dict[str, asyncio.Task[_Count]] = {}

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
        used = await self._used(principal, 0, most)
        _keep(self._glances, principal.tenant_id, _Count(used, self._clock()))

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

    def admit(self, principal: Principal, door: TenantDoor, asset: Asset, content: bytes | None = None) -> None:
        """Inside the transaction that adds an asset: whether it may be added. This is the check that is exact. ``content`` are
        its bytes when they are to lie with it, and with every other name of them too.

        It changes what is remembered, which is no harm when the transaction is undone: the bound is one all the same.

        Raises:
            Fault: ``quota_exceeded``.
        """
        most, known = self.most(principal), self._counts.get(principal.tenant_id)
        if most is None or (known and _bound(known, door) + asset.size <= most):
            return
        if door.holds(asset.hash, None if content is None else asset.name):
            return
        known = _Count(door.bytes_held(), self._clock())
        _keep(self._counts, principal.tenant_id, known)
        if known.bytes + asset.size > most:
            raise self._exceeded(principal)

    def forget(self, tenant_id: str) -> None:
        """Has a tenant's bytes counted anew: some were deleted."""
        self._counts.pop(tenant_id, None)
        self._counting.pop(tenant_id, None)

    async def _room(self, principal: Principal, size: int) -> float:
        """How many bytes more may come, at least; ``size`` of them must."""
        most = self.most(principal)
        return math.inf if most is None else most - await self._used(principal, size, most)

    async def _used(self, principal: Principal, size: int, most: int) -> int:
        """How many bytes there are, at most; ``size`` more must fit."""
        tenant_id = principal.tenant_id
        known = self._counts.get(tenant_id) or await self._count(tenant_id)
        if self._clock() - known.at > RECOUNT:
            self._begin_count(tenant_id)  # this one serves until then
        used = await self._store.read(lambda session: _bound(known, session.tenant(tenant_id)))
        if used + size > most:
            if self._clock() - known.at >= GLANCE:
                known = await self._count(tenant_id)
            used = known.bytes
        if used + size > most:
            raise self._exceeded(principal)
        return used

    async def _count(self, tenant_id: str) -> _Count:
        return await asyncio.shield(self._begin_count(tenant_id))

    def _begin_count(self, tenant_id: str) -> asyncio.Task[_Count]:
        """A count of a tenant that is under way, or a new one."""
        task = self._counting.get(tenant_id)
        if task is None:
            task = self._counting[tenant_id] = asyncio.create_task(self._survey(tenant_id), name=f"count {tenant_id}")
            task.add_done_callback(partial(self._counted, tenant_id))
        return task

    async def _survey(self, tenant_id: str) -> _Count:
        at = self._clock()
        return _Count(await self._store.survey(lambda session: session.tenant(tenant_id).bytes_held()), at)

    def _counted(self, tenant_id: str, task: asyncio.Task[_Count]) -> None:
        """Remembers a count, unless something was deleted since it began."""
        if self._counting.get(tenant_id) is task:
            del self._counting[tenant_id]
            if not task.cancelled() and task.exception() is None:
                _keep(self._counts, tenant_id, task.result())

    def _exceeded(self, principal: Principal) -> Fault:
        return Fault("quota_exceeded", f"the files of this tenant may have {self.most(principal):,} bytes together")


def _bound(known: _Count, door: TenantDoor) -> int:
    """What was counted, and what came since."""
    return known.bytes + door.bytes_held(after=known.at - SETTLED)


def _keep(counts: OrderedDict[str, _Count], tenant_id: str, count: _Count) -> None:
    counts[tenant_id] = count
    if len(counts) > MAX_TENANTS:
        counts.popitem(last=False)
