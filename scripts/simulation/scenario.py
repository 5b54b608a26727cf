"""Who submits what, and where it may run: drawn once, so that every way of placing it meets the same."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from comfyone.gateway.domain.jobs import Job, JobState, Needs

__all__ = ["FULL", "QUARTER", "QUICK", "Backend", "Scenario", "Size", "Work", "draw"]

LOADING = 6.0
"""Seconds that a backend takes to load other models than it has."""

CHECKPOINTS = 12
WORKFLOWS = 24
PLAIN = 0.05
"""Share of the workflows' jobs that load no model."""

NAMED = 0.01
LABELLED = 0.05
LARGE = 0.3
"""Shares: of jobs that name a backend, of jobs that want a label, and of the backends that have it."""

FAILING = 0.003
"""Share of jobs whose first attempt is lost at its end."""

HEAVY = 0.1
"""Share of the tenants that have three times the weight."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is: ``jobs`` wait at the start, as many as ``later`` come during the first ``seconds``."""

    backends: int
    tenants: int
    jobs: int
    later: int
    seconds: float


FULL = Size(10_000, 1_000, 100_000, 20_000, 100.0)
QUARTER = Size(2_500, 250, 25_000, 5_000, 100.0)
QUICK = Size(200, 40, 3_000, 300, 100.0)


@dataclass(frozen=True, slots=True)
class Backend:
    id: str
    weight: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Work:
    """A job, and what only time would tell: the ``seconds`` that it runs without loading, and whether it fails once."""

    number: int
    job: Job
    workflow: int
    models: frozenset[str]
    seconds: float
    fails: bool

    @property
    def loose(self) -> bool:
        """Whether any backend may take it."""
        return self.job.wanted_backend_id is None and not self.job.labels


@dataclass(frozen=True, slots=True)
class Scenario:
    size: Size
    backends: Sequence[Backend]
    weights: Mapping[str, float]
    """The tenants and their weights."""

    works: Sequence[Work]
    """In order of arrival."""


@dataclass(frozen=True, slots=True)
class _Workflow:
    needs: Needs | None
    models: frozenset[str]
    median: float


def draw(size: Size, seed: int = 1) -> Scenario:
    """A pool that all share: tenants ask for very different amounts (Zipf), of workflows that are popular unequally."""
    chance = random.Random(seed)
    backends = [_backend(number, chance) for number in range(size.backends)]
    tenants = [f"tenant-{number:04}" for number in range(size.tenants)]
    weights = {name: 3.0 if chance.random() < HEAVY else 1.0 for name in tenants}
    workflows = [_workflow(number, chance) for number in range(WORKFLOWS)]
    favourites = {name: chance.choices(range(WORKFLOWS), _zipf(WORKFLOWS), k=3) for name in tenants}
    count = size.jobs + size.later
    asking = chance.choices(tenants, cum_weights=list(accumulate(_zipf(size.tenants))), k=count)
    times = sorted(chance.uniform(0, size.seconds) if number >= size.jobs else 0.0 for number in range(count))
    works = []
    for number, (name, at) in enumerate(zip(asking, times, strict=True)):
        choice = chance.choice(favourites[name])
        works.append(_work(number, name, at, choice, workflows[choice], size, chance))
    return Scenario(size, backends, weights, works)


def _zipf(count: int) -> list[float]:
    return [1 / rank for rank in range(1, count + 1)]


def _backend(number: int, chance: random.Random) -> Backend:
    labels = {"gpu": "large"} if chance.random() < LARGE else {"gpu": "small"}
    return Backend(f"backend-{number:05}", chance.choice((1, 1, 2, 4)), labels)


def _workflow(number: int, chance: random.Random) -> _Workflow:
    """Two workflows share each checkpoint."""
    model = f"checkpoint-{number % CHECKPOINTS:02}.safetensors"
    needs = Needs(frozenset({"CheckpointLoaderSimple"}), frozenset({("CheckpointLoaderSimple", "ckpt_name", model)}))
    return _Workflow(needs, frozenset({model}), chance.uniform(4.0, 12.0))


def _work(
    number: int, tenant_id: str, at: float, workflow: int, what: _Workflow, size: Size, chance: random.Random
) -> Work:
    plain, lot = chance.random() < PLAIN, chance.random()
    wanted = f"backend-{chance.randrange(size.backends):05}" if lot < NAMED else None
    labels = {"gpu": "large"} if NAMED <= lot < NAMED + LABELLED else {}
    needs, models = (None, frozenset[str]()) if plain else (what.needs, what.models)
    job = _job(f"{number:06}", tenant_id, at, needs, wanted, labels)
    seconds = what.median * chance.lognormvariate(0.0, 0.5)
    return Work(number, job, workflow, models, seconds, chance.random() < FAILING)


def _job(
    job_id: str, tenant_id: str, at: float, needs: Needs | None, wanted: str | None, labels: Mapping[str, str]
) -> Job:
    return Job(
        id=job_id,
        tenant_id=tenant_id,
        workflow_id=None,
        version=None,
        state=JobState.QUEUED,
        priority=0,
        labels=labels,
        needs=needs,
        wanted_backend_id=wanted,
        backend_id=None,
        attempt=0,
        cancelling=False,
        free_cache=False,
        free_gpu=False,
        values=b"",
        outputs=(),
        error=None,
        created_at=at,
        queued_at=at,
        dispatched_at=None,
        started_at=None,
        executed_at=None,
        finished_at=None,
    )
