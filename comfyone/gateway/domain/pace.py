"""How long runs take: what is expected of the next one, after those of late."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["Pace"]

MEMORY = 8
"""Runs that a mean is made of, more or less: each new one counts for an eighth."""

MAX_KEPT = 10_000
"""Means that are kept; those that were longest not added to are forgotten."""

Rung = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Mean:
    seconds: float
    runs: int

    def and_(self, seconds: float) -> _Mean:
        """With one more run. The first few count alike, so that the very first does not linger."""
        return _Mean(self.seconds + (seconds - self.seconds) / min(self.runs + 1, MEMORY), self.runs + 1)


class Pace:
    """Expected run times in seconds: of a tenant's workflow, or else of the tenant, or else of its pool."""

    def __init__(self) -> None:
        self._means: OrderedDict[Rung, _Mean] = OrderedDict()

    def note(self, tenant_id: str, workflow_id: str | None, seconds: float, pool: str | None = None) -> None:
        """A run has taken this long. ``workflow_id`` is None for graphs that are not stored."""
        for rung in _rungs(tenant_id, workflow_id, pool):
            mean = self._means.pop(rung, _Mean(0.0, 0))
            self._means[rung] = mean.and_(max(seconds, 0.0))
        while len(self._means) > MAX_KEPT:
            self._means.popitem(last=False)

    def seconds(self, tenant_id: str, workflow_id: str | None, pool: str | None = None) -> float | None:
        """What the next run of the workflow is expected to take; None when nothing is known."""
        return self._first(_rungs(tenant_id, workflow_id, pool))

    def typical(self, tenant_id: str, pool: str | None = None) -> float | None:
        """What the next run of the tenant, whatever it is, is expected to take."""
        return self._first(_rungs(tenant_id, None, pool)[1:])

    def _first(self, rungs: tuple[Rung, ...]) -> float | None:
        return next((mean.seconds for rung in rungs if (mean := self._means.get(rung))), None)


def _rungs(tenant_id: str, workflow_id: str | None, pool: str | None) -> tuple[Rung, ...]:
    """The most particular first."""
    rungs: tuple[Rung, ...] = (("workflow", tenant_id, workflow_id or ""), ("tenant", tenant_id))
    return rungs if pool is None else (*rungs, ("pool", pool))
