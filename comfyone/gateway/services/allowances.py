"""How much a tenant may submit. Limits count rows: what they say is read from the jobs themselves, so nothing can leak.

Counting a long queue for every submission would cost more than the submission. So the rows are counted once, and what was
free then is used up one by one; only when it is gone are they counted again. Jobs that leave the queue meanwhile only make
more room than we know of.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from comfyone.errors import Fault
from comfyone.gateway.domain.tenants import TenantPolicy
from comfyone.gateway.ports import TenantDoor

__all__ = ["Allowances"]

T = TypeVar("T", int, float)

MAX_KEPT = 10_000
MINUTE = 60.0

FULL_SECONDS = 0.1
"""For so long a queue that was full is taken to be full: whoever knocks at it all the time costs no count each time."""

KEPT_SECONDS = 5.0
"""How old a count may get that left something free, and the sum of backend time too."""


@dataclass(slots=True)
class _Free:
    """What a limit of ``most`` left when the rows were counted, for a job that came ``at`` that moment, less what was taken
    since. ``until``: when to count again."""

    most: float
    left: float
    at: float
    until: float

    def holds(self, most: float, now: float) -> bool:
        """Whether it still says something of a job that comes now. That nothing is left may have been found in a
        transaction that was then undone, and is run again: it says nothing of those that came before."""
        return self.most == most and now < self.until and (self.left > 0 or now > self.at)

    def take(self) -> None:
        self.left -= 1
        if self.left <= 0:
            self.until = 0.0  # used up: the next one counts again


class Allowances:
    """``defaults`` are the gateway's own limits, for what a tenant's policy leaves open."""

    def __init__(self, defaults: TenantPolicy) -> None:
        self._defaults = defaults
        self._kept: OrderedDict[tuple[str, str], _Free] = OrderedDict()

    def take(self, tenant_id: str, policy: TenantPolicy, door: TenantDoor, now: float) -> None:
        """Takes leave for one more job; in the transaction that adds it.

        Raises:
            Fault: ``queue_full``, ``rate_limited`` or ``budget_spent``, each with when to come back.
        """
        most = _first(policy.max_backend_seconds, self._defaults.max_backend_seconds)
        if most is not None and self._free("budget", tenant_id, now, most, lambda: _budget(most, door, now)).left <= 0:
            raise Fault(
                "budget_spent",
                f"today's {most:g} seconds of backend time are used up",
                retry_after=_until_midnight(now),
            )
        taken = [
            self._room("queued", tenant_id, now, policy.max_queued, self._defaults.max_queued, door),
            self._room("submitted", tenant_id, now, policy.max_per_minute, self._defaults.max_per_minute, door),
        ]
        for free in taken:
            if free is not None:
                free.take()

    def _room(
        self, kind: str, tenant_id: str, now: float, own: int | None, default: int | None, door: TenantDoor
    ) -> _Free | None:
        most = _first(own, default)
        if most is None:
            return None
        count = _queued if kind == "queued" else _submitted
        free = self._free(kind, tenant_id, now, most, lambda: count(most, door, now))
        if free.left <= 0 and kind == "queued":
            raise Fault("queue_full", f"{most:,} jobs are waiting, and more are not taken", retry_after=5)
        if free.left <= 0:
            raise Fault(
                "rate_limited", f"{most:,} jobs were submitted within a minute", retry_after=max(free.until - now, 1.0)
            )
        return free

    def _free(self, kind: str, tenant_id: str, now: float, most: float, count: Callable[[], _Free]) -> _Free:
        key = (kind, tenant_id)
        free = self._kept.get(key)
        if free is None or not free.holds(most, now):
            free = self._kept[key] = count()
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return free


def _queued(most: int, door: TenantDoor, now: float) -> _Free:
    left = most - door.count_queued(most)
    return _Free(most, left, now, now + (KEPT_SECONDS if left > 0 else FULL_SECONDS))


def _submitted(most: int, door: TenantDoor, now: float) -> _Free:
    count, first = door.submitted_since(now - MINUTE, most)
    left = most - count
    return _Free(most, left, now, now + KEPT_SECONDS if left > 0 else (first if count else now) + MINUTE)


def _budget(most: float, door: TenantDoor, now: float) -> _Free:
    day = datetime.fromtimestamp(now, UTC).date().isoformat()
    return _Free(most, most - door.backend_seconds(day), now, now + KEPT_SECONDS)


def _until_midnight(now: float) -> float:
    tomorrow = datetime.fromtimestamp(now, UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, datetime.min.time(), UTC).timestamp() - now


def _first(own: T | None, default: T | None) -> T | None:
    return default if own is None else own
