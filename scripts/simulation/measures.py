"""What a trace says: how even the shares were, how long jobs waited, how much of the pool was used."""

from __future__ import annotations

import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from comfyone.gateway.domain.fairness import Ledger
from comfyone.gateway.domain.placement import Slot, place
from scripts.simulation.cluster import Run, Trace
from scripts.simulation.scenario import Scenario

__all__ = [
    "SIZES",
    "Window",
    "decisions",
    "jain",
    "percentile",
    "size_of",
    "used_by",
    "utilisation",
    "waits",
    "warm_rate",
    "windows",
]

SPAN = 20.0
"""Seconds of a window in which shares are compared: two or three jobs of each backend."""

SIZES = ("small", "middle", "large")
"""Tenants by how many jobs they have, each with a third of the tenants."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, and the backend seconds for each unit of weight of those tenants that had work waiting all through."""

    begins: float
    used: Mapping[str, float]

    @property
    def jain(self) -> float:
        return jain(self.used.values())


def jain(values: Iterable[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one of n has everything."""
    known = list(values)
    squares = sum(value * value for value in known)
    return sum(known) ** 2 / (len(known) * squares) if squares else 1.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that ``percent`` of the values do not exceed; nan of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def used_by(runs: Iterable[Run], begins: float, ends: float) -> dict[str, float]:
    """Backend seconds of each tenant within a span of time."""
    used: dict[str, float] = defaultdict(float)
    for run in runs:
        if run.began < ends and run.ended > begins:
            used[run.work.job.tenant_id] += min(run.ended, ends) - max(run.began, begins)
    return used


def windows(scenario: Scenario, trace: Trace) -> list[Window]:
    """One window after another, from the start until fewer than three tenants have work all through."""
    found: list[Window] = []
    by_window: dict[int, list[Run]] = defaultdict(list)
    for run in trace.runs:
        for number in range(int(run.began / SPAN), int(run.ended / SPAN) + 1):
            by_window[number].append(run)
    for number in sorted(by_window):
        begins, ends = number * SPAN, (number + 1) * SPAN
        busy = [name for name in scenario.weights if _had_work(trace, name, begins, ends)]
        if len(busy) < 3:
            break
        used = used_by(by_window[number], begins, ends)
        found.append(Window(begins, {name: used.get(name, 0.0) / scenario.weights[name] for name in busy}))
    return found


def _had_work(trace: Trace, tenant_id: str, begins: float, ends: float) -> bool:
    return all(end <= begins or start >= ends for start, end in trace.gaps.get(tenant_id, [(0.0, math.inf)]))


def utilisation(scenario: Scenario, trace: Trace) -> float:
    """The share of all backend seconds that were used, until for the first time nothing waited that any may take."""
    busy = sum(used_by(trace.runs, 0.0, trace.drained).values())
    return busy / (len(scenario.backends) * trace.drained)


def warm_rate(trace: Trace) -> float:
    """The share of runs with models that found them loaded."""
    return sum(run.warm for run in trace.runs if run.work.models) / sum(bool(run.work.models) for run in trace.runs)


def size_of(scenario: Scenario) -> dict[str, str]:
    """To which of `SIZES` each tenant belongs."""
    counts = Counter(work.job.tenant_id for work in scenario.works)
    ranked = sorted(scenario.weights, key=lambda name: (counts[name], name))
    return {name: SIZES[min(rank * 3 // len(ranked), 2)] for rank, name in enumerate(ranked)}


def waits(scenario: Scenario, trace: Trace) -> dict[str, list[float]]:
    """Seconds from the arrival of a job to the begin of its first run, by the size of its tenant."""
    sizes, found = size_of(scenario), {size: list[float]() for size in SIZES}
    first: dict[int, Run] = {}
    for run in trace.runs:
        first.setdefault(run.work.number, run)
    for run in first.values():
        found[sizes[run.work.job.tenant_id]].append(run.began - run.work.job.queued_at)
    return found


def decisions(scenario: Scenario, rounds: int = 300) -> tuple[list[float], list[float]]:
    """CPU seconds to place a single job when one backend has room and every tenant waits: `place`, and the ledger."""
    chance, ledger = random.Random(1), Ledger()
    queues = defaultdict(list)
    for work in scenario.works:
        if work.loose:
            queues[work.job.tenant_id].append(work.job)
    active = [(name, scenario.weights[name], None) for name in queues]
    models = sorted({work.models for work in scenario.works}, key=sorted)
    placing, booking = [], []
    for _ in range(rounds):
        slot = Slot(chance.choice(scenario.backends).id, 1, 2, warm=chance.choice(models))
        began = time.process_time()
        shares = ledger.shares(active)
        between = time.process_time()
        pairs = place(shares, queues.__getitem__, [slot], busy=())
        placing.append(time.process_time() - between)
        ledger.charge(pairs[0][0].tenant_id, 10.0)
        booking.append(between - began)
    return placing, booking
