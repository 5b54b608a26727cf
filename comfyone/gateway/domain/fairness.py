"""Who has used how much of a pool that many share."""

from __future__ import annotations

from collections.abc import Iterable, Set

from comfyone.gateway.domain.placement import LEAST_COST, Share

__all__ = ["MEMORY", "Ledger"]

MEMORY = 10_000
"""How many tenants without work are remembered."""


class Ledger:
    """The books of one pool: each tenant has a clock that advances as it uses backends, the slower the more it weighs.

    Whose clock is the most behind is next. The pool has a clock too, which goes with those who are served and never
    back: whoever comes back from having no work, or no room, has its own set to that if it is behind. So nobody saves
    up by idling, and nobody owes for what they used while the pool had nothing better to do. Who is ahead stays so,
    which is by no more than its last jobs; else work in small bites would be free.
    """

    def __init__(self) -> None:
        self._clock = 0.0
        self._clocks: dict[str, float] = {}  # in backend seconds for each unit of weight
        self._shares: dict[str, Share] = {}  # the last ones handed out, as far as they still hold
        self._weights: dict[str, float] = {}
        self._active: set[str] = set()

    def __len__(self) -> int:
        return len(self._clocks)

    def shares(self, active: Iterable[tuple[str, float, int | None]]) -> list[Share]:
        """What each tenant that has work may claim now, in the order given: its id, weight above 0, and room."""
        tenants = list(active)
        able = {tenant_id for tenant_id, _, room in tenants if room != 0}
        behind = min(map(self._clocks.__getitem__, able & self._active), default=self._clock)
        self._clock = max(self._clock, behind)
        for tenant_id in able - self._active:
            self._set(tenant_id, max(self._clock, self._now(tenant_id)))
        self._active = able
        shares = [self._share(*tenant) for tenant in tenants]
        if len(self._clocks) - len(shares) > MEMORY:
            self._forget({share.tenant_id for share in shares})
        return shares

    def charge(self, tenant_id: str, seconds: float) -> None:
        """Books a job as it is placed, at what it is expected to take."""
        now = self._now(tenant_id)
        self._clock = max(self._clock, now)
        self._set(tenant_id, now + max(seconds, LEAST_COST) / self._weights.get(tenant_id, 1.0))

    def settle(self, tenant_id: str, expected: float, actual: float) -> None:
        """Puts right what was charged, once a job has ended: ``actual`` is 0 for one that never ran."""
        owed = (actual - max(expected, LEAST_COST)) / self._weights.get(tenant_id, 1.0)
        self._set(tenant_id, self._now(tenant_id) + owed)

    def _now(self, tenant_id: str) -> float:
        return self._clocks.get(tenant_id, self._clock)

    def _set(self, tenant_id: str, clock: float) -> None:
        self._clocks[tenant_id] = clock
        self._shares.pop(tenant_id, None)

    def _share(self, tenant_id: str, weight: float, room: int | None) -> Share:
        share = self._shares.get(tenant_id)  # most have not changed since they were last asked for
        if share is None or share.weight != weight or share.room != room:
            used = self._clocks.setdefault(tenant_id, self._clock) * weight
            share = self._shares[tenant_id] = Share(tenant_id, weight, used, room)
            self._weights[tenant_id] = weight
        return share

    def _forget(self, present: Set[str]) -> None:
        """Drops of the idle, once they are more than `MEMORY`, those with whom the pool has caught up, for they would begin
        where it stands, and if many are left, those the least ahead."""
        idle = self._clocks.keys() - present
        ahead = sorted((self._clocks[tenant_id], tenant_id) for tenant_id in idle)[-MEMORY // 2 :]
        for tenant_id in idle - {tenant_id for clock, tenant_id in ahead if clock > self._clock}:
            del self._clocks[tenant_id]
            self._shares.pop(tenant_id, None)
            self._weights.pop(tenant_id, None)
