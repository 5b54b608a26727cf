"""What a waiting job can expect: positions and times, from a real store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.bus.memory import MemoryBus, Subscription
from comfyone.gateway.dispatch import outlook as module
from comfyone.gateway.dispatch.outlook import Line, Outlook
from comfyone.gateway.domain.backends import SHARED_POOL
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.jobs import Job, JobEvent, JobState, Passing
from comfyone.gateway.domain.pace import Pace
from comfyone.gateway.domain.placement import Slot
from comfyone.gateway.domain.tenants import Tenant
from comfyone.gateway.storage.sqlite import SqliteStore
from tests.unit.gateway.engine.samples import TENANT, new_job, open_store

WIDE = {Passing.POSITION}


@dataclass
class FakeLink:
    usable: bool = True


@dataclass
class Room:
    """An outlook on a store with one tenant, whose pool is ``own`` backends, beside ``shared`` ones."""

    store: SqliteStore
    bus: MemoryBus
    own: list[FakeLink]
    shared: list[FakeLink] = field(default_factory=list)
    outlook: Outlook = field(init=False)

    def __post_init__(self) -> None:
        pools = {TENANT: self.own, SHARED_POOL: self.shared}
        lookup: Any = lambda pool: pools.get(pool, [])  # noqa: E731
        self.outlook = Outlook(self.store, self.bus, Pace(), lookup)

    async def submit(self, *workflows: str | None, tenant_id: str = TENANT) -> list[str]:
        jobs = [new_job(workflow_id=workflow, version=1, graph=None) for workflow in workflows]
        return [
            (await self.store.write(lambda session, job=job: session.tenant(tenant_id).add_job(job)))  # type: ignore[misc]
            for job in jobs
        ]

    async def run(self, job_id: str, seconds: float | None = None, tenant_id: str = TENANT) -> Job:
        """Begins a job, ``seconds`` ago; with ``seconds`` it has ended by now."""
        now = time.time()
        job = (await self.store.read(lambda session: session.tenant(tenant_id).job(job_id))).job
        assignment = await self.store.write(
            lambda session: session.engine.claim(job, Slot("gpu", 0, 1, name="gpu"), new_id(), now)
        )
        assert assignment is not None
        await self.store.write(lambda session: session.engine.begin(assignment.job, now - (seconds or 0.0)))
        if seconds is not None:
            await self.store.write(
                lambda session: session.engine.end(
                    assignment.job, JobState.SUCCEEDED, now, outcome="succeeded", started=now - seconds, executed=now
                )
            )
        return assignment.job

    async def etas(self, *job_ids: str) -> list[float | None]:
        views = [await self.store.read(lambda session, id=id: session.tenant(TENANT).job(id)) for id in job_ids]  # type: ignore[misc]
        etas = await self.outlook.etas(TENANT, views)
        return [etas.get(job_id) for job_id in job_ids]


@asynccontextmanager
async def room(path: Path, own: int = 1, shared: int = 0) -> AsyncIterator[Room]:
    bus = MemoryBus()
    told: list[Callable[[JobEvent], None]] = [bus.publish]

    def publish(event: JobEvent) -> None:
        for tell in told:
            tell(event)

    async with open_store(path / "comfyone.db", publish) as store:
        made = Room(store, bus, [FakeLink() for _ in range(own)], [FakeLink() for _ in range(shared)])
        told.append(made.outlook.note)
        try:
            yield made
        finally:
            await made.outlook.stop()


async def hear(events: Subscription, until: Callable[[list[JobEvent]], bool]) -> list[JobEvent]:
    """The positions that are told, up to the one that makes the predicate true."""
    heard: list[JobEvent] = []
    async with asyncio.timeout(30):
        async for event in events:
            if event.type == Passing.POSITION:
                heard.append(event)
                if until(heard):
                    return heard
    raise AssertionError("the listener was cut off")


def places(events: list[JobEvent]) -> list[tuple[str, int]]:
    return [(event.job_id, event.data["position"]) for event in events]


# expected times


def test_the_work_ahead_is_shared_among_the_backends_and_a_jobs_own_run_comes_on_top() -> None:
    line = Line(["a", "b"], [4.0, 14.0, 24.0], typical=8.0, crew=2)
    assert line.eta(0, 10.0) == 12.0
    assert line.eta(1, 10.0) == 17.0
    assert line.eta(4, 10.0) == (24.0 + 2 * 8.0) / 2 + 10.0


@given(st.lists(st.floats(0, 1e4), max_size=10), st.floats(0, 1e4), st.integers(1, 20))
def test_who_is_further_back_expects_no_earlier_end(works: list[float], typical: float, crew: int) -> None:
    ahead = [sum(works[:count]) for count in range(len(works) + 1)]
    line = Line([str(number) for number in range(len(works))], ahead, typical, crew)
    etas = [line.eta(position, 1.0) or 0.0 for position in range(len(works) + 5)]
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(etas))


async def test_nothing_is_promised_before_anything_is_known_or_without_a_backend(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        (first,) = await here.submit("portrait")
        assert await here.etas(first) == [None]
        await here.run(first, seconds=10.0)
        (second,) = await here.submit("portrait")
        assert await here.etas(second) == [pytest.approx(10.0, abs=0.2)]
        here.own[0].usable = False
        assert await here.etas(second) == [None]


async def test_each_workflow_counts_with_its_own_time(tmp_path: Path) -> None:
    async with room(tmp_path, own=2) as here:
        for workflow, seconds in (("short", 2.0), ("long", 40.0)):
            (job,) = await here.submit(workflow)
            await here.run(job, seconds)
        jobs = await here.submit("long", "short", "unheard")
        typical = 21.0
        expected = [40.0, 40.0 / 2 + 2.0, 42.0 / 2 + typical]
        assert await here.etas(*jobs) == [pytest.approx(eta, abs=0.5) for eta in expected]


async def test_what_runs_is_ahead_with_what_is_left_of_it(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        before, running = await here.submit("w", "w")
        await here.run(before, seconds=1000.0)
        await here.run(running)
        (waiting,) = await here.submit("w")
        (eta,) = await here.etas(waiting)
        assert eta is not None
        assert 1900 < eta <= 2000


async def test_a_pool_that_is_shared_counts_by_the_tenants_that_have_work(tmp_path: Path) -> None:
    async with room(tmp_path, own=0, shared=4) as here:
        (before,) = await here.submit("w")
        await here.run(before, seconds=60.0)
        _, waiting = await here.submit("w", "w")
        assert await here.etas(waiting) == [pytest.approx(60.0 / 4 + 60.0, abs=0.5)]
        await here.store.write(lambda session: session.accounts.add_tenant(Tenant("rival", "rival", 0.0)))
        await here.submit("w", tenant_id="rival")
        await here.outlook._count_sharers()
        assert await here.etas(waiting) == [pytest.approx(60.0 / 2 + 60.0, abs=0.5)]


async def test_a_new_process_has_learnt_from_what_ended_before(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        (before,) = await here.submit("w")
        await here.run(before, seconds=30.0)
        again = Room(here.store, here.bus, here.own)
        (waiting,) = await here.submit("w")
        assert await again.etas(waiting) == [None]
        await again.outlook.start()
        assert await again.etas(waiting) == [pytest.approx(30.0, abs=0.2)]
        await again.outlook.stop()


# positions


async def test_positions_are_counted_as_far_as_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from comfyone.gateway.storage import tenant_door

    monkeypatch.setattr(tenant_door, "MAX_POSITION", 3)
    monkeypatch.setattr(tenant_door, "_AHEAD", tenant_door._AHEAD.replace("10000", "3"))
    async with room(tmp_path) as here:
        jobs = await here.submit(*["w"] * 5)
        one_by_one = [
            (await here.store.read(lambda session, id=id: session.tenant(TENANT).job(id))).position  # type: ignore[misc]
            for id in jobs
        ]
        page = await here.store.read(lambda session: session.tenant(TENANT).jobs(limit=9, offset=0, states=()))
        assert one_by_one == [0, 1, 2, 3, 3]
        assert {view.job.id: view.position for view in page} == dict(zip(jobs, one_by_one, strict=True))


async def test_who_listens_is_told_where_each_stands_and_then_only_what_has_changed(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        await here.outlook.start()
        with here.bus.subscribe(TENANT, tenant_id=TENANT, passing=WIDE) as events:
            first, second, third = await here.submit("w", "w", "w")
            assert dict(places(await hear(events, lambda heard: heard[-1].job_id == third))) == {
                first: 0,
                second: 1,
                third: 2,
            }
            await here.run(first)
            assert places(await hear(events, lambda heard: len(heard) == 2)) == [(second, 0), (third, 1)]
            await here.store.write(lambda session: session.tenant(TENANT).cancel(third, time.time()))
            (fourth,) = await here.submit("w")
            assert places(await hear(events, lambda heard: True)) == [(fourth, 1)]


async def test_a_job_that_waits_anew_is_told_its_position_anew(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        await here.outlook.start()
        with here.bus.subscribe(TENANT, tenant_id=TENANT, passing=WIDE) as events:
            (job_id,) = await here.submit("w")
            assert places(await hear(events, lambda heard: True)) == [(job_id, 0)]
            job = await here.run(job_id)
            await here.store.write(lambda session: session.engine.requeue(job, "lost", time.time()))
            assert places(await hear(events, lambda heard: True)) == [(job_id, 0)]


async def test_nothing_is_read_for_a_tenant_that_nobody_listens_for(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        with here.bus.subscribe(TENANT, tenant_id=TENANT):
            await here.submit("w")
        assert here.outlook._moved == set()
        with here.bus.subscribe("another job", tenant_id=TENANT, passing=WIDE):
            await here.submit("w")
            assert here.outlook._moved == {TENANT}


async def test_the_first_in_the_queue_are_told_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD", 2)
    async with room(tmp_path) as here:
        jobs = await here.submit("w", "w", "w")
        assert places(await here.outlook.positions(TENANT)) == [(jobs[0], 0), (jobs[1], 1)]
        last = await here.store.read(lambda session: session.tenant(TENANT).job(jobs[2]))
        assert places([await here.outlook.position(last)]) == [(jobs[2], 2)], "who asks is told however far back"


async def test_expected_times_are_told_anew_as_they_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRIFT", 0.05)
    monkeypatch.setattr(module, "TELLING_PAUSE", 0.0)
    async with room(tmp_path) as here:
        (ended,) = await here.submit("w")
        await here.run(ended, seconds=60.0)
        _, waiting = await here.submit("w", "w")
        await here.outlook.start()
        with here.bus.subscribe(TENANT, tenant_id=TENANT, passing=WIDE) as events:
            before = await hear(events, lambda heard: heard[-1].job_id == waiting)
            here.own.append(FakeLink())  # of which no queue moves
            after = await hear(events, lambda heard: heard[-1].job_id == waiting)
    assert before[-1].data == {"position": 1, "eta": pytest.approx(120.0, abs=0.5)}
    assert after[-1].data == {"position": 1, "eta": pytest.approx(90.0, abs=0.5)}


async def test_expected_times_drift_for_one_tenant_while_the_queue_of_another_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRIFT", 0.05)
    monkeypatch.setattr(module, "TELLING_PAUSE", 0.0)
    async with room(tmp_path) as here:
        await here.store.write(lambda session: session.accounts.add_tenant(Tenant("rival", "rival", 0.0)))
        (ended,) = await here.submit("w")
        await here.run(ended, seconds=60.0)
        _, waiting = await here.submit("w", "w")
        await here.outlook.start()
        with (
            here.bus.subscribe(TENANT, tenant_id=TENANT, passing=WIDE) as events,
            here.bus.subscribe("rival", tenant_id="rival", passing=WIDE),
        ):
            await hear(events, lambda heard: heard[-1].job_id == waiting)
            here.own.append(FakeLink())
            listening = asyncio.ensure_future(hear(events, lambda heard: heard[-1].job_id == waiting))
            while not listening.done():
                await here.submit("w", tenant_id="rival")
                await asyncio.sleep(0)
            assert (await listening)[-1].data["eta"] == pytest.approx(90.0, abs=0.5)
