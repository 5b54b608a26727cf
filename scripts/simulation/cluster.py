"""A pool of backends under one way of placing: event by event, with the gateway's own placement and ledger."""

from __future__ import annotations

import heapq
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from comfyone.gateway.domain.fairness import Ledger
from comfyone.gateway.domain.jobs import Job
from comfyone.gateway.domain.placement import Policy, Slot, place
from scripts.simulation.scenario import LOADING, Backend, Scenario, Work

__all__ = ["Run", "Trace", "Way", "simulate"]

TICK = 0.05
"""Seconds within which ends and arrivals are gathered into one placement, as the gateway's writer does."""

DEPTH = 2
"""Jobs that a backend holds: one runs, one waits there."""

GUESS = 10.0
"""What a job is expected to take before any of its workflow has ended."""


@dataclass(frozen=True, slots=True)
class Way:
    """How jobs are placed, and what is left out to see what it does."""

    name: str
    policy: Policy = Policy.LEAST_BUSY
    affinity: bool = True
    fair: bool = True
    overtaking: float = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of a job on a backend."""

    work: Work
    backend: int
    began: float
    ended: float
    warm: bool


@dataclass(slots=True)
class Trace:
    """What happened. ``gaps``: the times in which a tenant had nothing waiting that any backend may take.
    ``decisions``: of each placement, its CPU seconds and how many jobs it placed."""

    runs: list[Run] = field(default_factory=list)
    gaps: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    decisions: list[tuple[float, int]] = field(default_factory=list)
    drained: float = 0.0
    """When for the first time nothing waited that any backend may take."""

    returned: int = 0
    """Lost jobs that went back to the backend that lost them."""


def simulate(scenario: Scenario, way: Way) -> Trace:
    """Runs every job of a scenario to its end."""
    pool = _Pool(scenario, way)
    arrivals = deque(scenario.works)
    while arrivals or pool.ends:
        due = min(
            pool.ends[0][0] if pool.ends else float("inf"), arrivals[0].job.queued_at if arrivals else float("inf")
        )
        now = due + TICK if due else 0.0
        while arrivals and arrivals[0].job.queued_at <= now:
            pool.add(arrivals.popleft())
        while pool.ends and pool.ends[0][0] <= now:
            pool.end()
        pool.place(now)
    pool.close()
    return pool.trace


@dataclass(slots=True)
class _Machine:
    """A backend: what it runs and what waits there, what it has loaded, and its slot as long as nothing changes."""

    backend: Backend
    number: int
    jobs: deque[tuple[Work, float]] = field(default_factory=deque)
    warm: frozenset[str] = frozenset()
    given_at: float = 0.0
    began: float = 0.0
    was_warm: bool = False

    def slot(self, affinity: bool) -> Slot:
        ahead = next((work.models for work, _ in reversed(self.jobs) if work.models), self.warm)
        warm = ahead if affinity else frozenset[str]()
        backend = self.backend
        return Slot(
            backend.id, len(self.jobs), DEPTH, self.given_at, weight=backend.weight, labels=backend.labels, warm=warm
        )


@dataclass(slots=True)
class _Queue:
    """A tenant's jobs in order, some of them gone already."""

    works: list[Work] = field(default_factory=list)
    gone: int = 0
    waiting: int = 0


class _Pool:
    """The state of the simulation."""

    def __init__(self, scenario: Scenario, way: Way) -> None:
        self.trace = Trace()
        self.ends: list[tuple[float, int]] = []
        self._scenario = scenario
        self._way = way
        self._machines = [_Machine(backend, number) for number, backend in enumerate(scenario.backends)]
        self._index = {machine.backend.id: machine for machine in self._machines}
        self._queues: dict[str, _Queue] = defaultdict(_Queue)
        self._active: dict[str, tuple[str, float, int | None]] = {}
        self._freed: set[int] = set(range(len(self._machines)))
        self._free: set[int] = set(self._freed)
        self._arrived = True
        self._waits = bytearray(len(scenario.works))
        self._lost_on: dict[str, str] = {}
        self._loose: dict[str, int] = dict.fromkeys(scenario.weights, 0)
        self._empty_since: dict[str, float] = dict.fromkeys(scenario.weights, 0.0)
        self._ledger = Ledger()
        self._means: dict[int, tuple[float, int]] = {}
        self._now = 0.0

    def add(self, work: Work, at: float | None = None) -> None:
        """A job joins its tenant's queue; one that was lost joins it in front."""
        queue, name = self._queues[self._line(work.job)], self._line(work.job)
        if at is not None:
            queue.works = [work, *(other for other in queue.works if self._waits[other.number])]
            queue.gone = 0
        else:
            queue.works.append(work)
        self._waits[work.number] = 1
        queue.waiting += 1
        self._arrived = True
        self._active[name] = (name, self._scenario.weights.get(name, 1.0), None)
        if work.loose:
            self._count(work.job.tenant_id, +1, work.job.queued_at if at is None else at)

    def end(self) -> None:
        """The job that ends next leaves its backend, and what waits there begins."""
        at, number = heapq.heappop(self.ends)
        machine = self._machines[number]
        work, expected = machine.jobs.popleft()
        seconds = at - machine.began
        self.trace.runs.append(Run(work, number, machine.began, at, machine.was_warm))
        self._ledger.settle(self._line(work.job), expected, seconds)
        mean, count = self._means.get(work.workflow, (0.0, 0))
        self._means[work.workflow] = (mean + (seconds - mean) / (count + 1), count + 1)
        self._freed.add(number)
        if machine.jobs:
            self._begin(machine, at)
        if work.fails and work.job.id not in self._lost_on:
            self._lost_on[work.job.id] = machine.backend.id
            self.add(work, at)

    def place(self, now: float) -> None:
        """One placement. What it could not use before is offered again only when there are jobs that it has not seen."""
        self._now = now
        self._free |= self._freed
        offered = sorted(self._free if self._arrived else self._freed)
        self._freed, self._arrived = set(), False
        if not self._active or not offered:
            return
        slots = [self._machines[number].slot(self._way.affinity) for number in offered]
        names = {slot.backend_id for slot in slots}
        began = time.process_time()
        pairs = place(
            self._ledger.shares(self._active.values()),
            lambda name: self._waiting(name, names),
            slots,
            policy=self._way.policy,
            cost=self._cost,
            avoid=lambda job: (self._lost_on[job.id],) if job.id in self._lost_on else (),
            now=now,
            seed=len(self.trace.decisions),
            overtaking=self._way.overtaking,
            busy=self._others(names),
        )
        for job, _ in pairs:
            self._ledger.charge(self._line(job), self._cost(job))
        self.trace.decisions.append((time.process_time() - began, len(pairs)))
        for job, backend_id in pairs:
            self._give(self._scenario.works[int(job.id)], self._index[backend_id])

    def close(self) -> None:
        """Checks what must hold at the end, whatever the way."""
        assert not self._active, "jobs were left waiting"
        for name, since in self._empty_since.items():
            self.trace.gaps[name].append((since, float("inf")))

    def _give(self, work: Work, machine: _Machine) -> None:
        assert self._waits[work.number], "a job was placed twice"
        assert len(machine.jobs) < DEPTH, "a backend was given more than it holds"
        assert work.job.wanted_backend_id in (None, machine.backend.id), "a job went to another backend than it names"
        assert machine.backend.labels.items() >= work.job.labels.items(), "a job went where its labels are not"
        self.trace.returned += self._lost_on.get(work.job.id) == machine.backend.id and work.loose
        self._leave(work)
        machine.given_at = self._now
        machine.jobs.append((work, self._cost(work.job)))
        if len(machine.jobs) == 1:
            self._begin(machine, self._now)
        if len(machine.jobs) == DEPTH:
            self._free.discard(machine.number)

    def _leave(self, work: Work) -> None:
        name = self._line(work.job)
        queue = self._queues[name]
        self._waits[work.number] = 0
        queue.gone, queue.waiting = queue.gone + 1, queue.waiting - 1
        if work.loose:
            self._count(work.job.tenant_id, -1, self._now)
        if not queue.waiting:
            del self._active[name]
        if queue.gone > 64 and queue.gone * 2 > len(queue.works):
            queue.works, queue.gone = [other for other in queue.works if self._waits[other.number]], 0

    def _count(self, tenant_id: str, change: int, at: float) -> None:
        """Keeps track of who has jobs waiting that any backend may take."""
        before = self._loose[tenant_id]
        self._loose[tenant_id] = before + change
        if not before:
            self.trace.gaps[tenant_id].append((self._empty_since.pop(tenant_id), at))
        elif before + change == 0:
            self._empty_since[tenant_id] = at
            if len(self._empty_since) == len(self._loose) and not self.trace.drained:
                self.trace.drained = at

    def _begin(self, machine: _Machine, at: float) -> None:
        work = machine.jobs[0][0]
        machine.began = at
        machine.was_warm = work.models <= machine.warm
        machine.warm = work.models or machine.warm
        heapq.heappush(self.ends, (at + work.seconds + (0.0 if machine.was_warm else LOADING), machine.number))

    def _waiting(self, name: str, names: set[str]) -> Iterator[Job]:
        """A tenant's queue as the database gives it: without jobs that name a backend which is not on offer."""
        for work in self._queues[name].works:
            if self._waits[work.number] and (work.job.wanted_backend_id is None or work.job.wanted_backend_id in names):
                yield work.job

    def _others(self, names: set[str]) -> Iterable[Slot]:
        return (machine.slot(False) for machine in self._machines if machine.backend.id not in names)

    def _cost(self, job: Job) -> float:
        mean, count = self._means.get(self._scenario.works[int(job.id)].workflow, (0.0, 0))
        return mean if count else GUESS

    def _line(self, job: Job) -> str:
        return job.tenant_id if self._way.fair else "everyone"
