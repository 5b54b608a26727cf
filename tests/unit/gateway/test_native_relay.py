"""What a client hears that comes back just while a job ends, or while the gateway stops."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from comfyone.gateway.dialects.comfyui.outbox import Frame, Outbox, Rank, Room
from comfyone.gateway.dialects.comfyui.relay import Ear, Relay
from comfyone.gateway.domain.jobs import Failure, JobEvent, JobState, Origin
from comfyone.gateway.domain.progress import Snapshot
from comfyone.gateway.domain.tenants import ALL_BUT_ADMIN, Principal
from comfyone.gateway.ports import JobView
from comfyone.gateway.services.jobs import Jobs
from tests.unit.gateway.engine.samples import TENANT, queued_job


class Held:
    """The jobs of a tenant: one that runs. Reading waits for ``go`` as long as that is not set."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[JobEvent | None] = asyncio.Queue()
        self.reading, self.go = asyncio.Event(), asyncio.Event()
        self.quick = False  # what is read from now on waits for nothing

    def hold(self) -> None:
        self.reading.clear()
        self.go.clear()

    async def relayed(self, _: Any) -> AsyncGenerator[list[str] | JobEvent]:
        yield ["job"]
        while event := await self.events.get():
            yield event
            self.events.task_done()  # the relay has dealt with it

    async def origin(self, *_: Any) -> Origin:
        return Origin("page", "mine")

    async def placed_for(self, *_: Any) -> list[str]:
        await self._read()
        return ["job"]

    async def get(self, *_: Any) -> JobView:
        await self._read()
        error = Failure("node_error", "node '2' (X): on purpose", "2", "X")
        return JobView(queued_job("job", state=JobState.FAILED, started_at=1.0, error=error), None, None, ())

    async def _read(self) -> None:
        self.reading.set()
        if not self.quick:
            await self.go.wait()


def fails() -> JobEvent:
    return JobEvent(TENANT, "job", 4, JobState.FAILED, time.time(), {})


def new_ear() -> Ear:
    return Ear("page", Outbox(Room()))


async def heard(ear: Ear) -> list[str]:
    """The types of what it was told; of what runs, the node too."""
    ear.outbox.push(Frame('{"type": "all", "data": {}}', Rank.LASTING))
    told: list[str] = []
    async for frame in ear.outbox:
        message = json.loads(frame.content)
        if message["type"] == "all":
            break
        told.append(" ".join(filter(None, (message["type"], message["data"].get("node")))))
    return told


@pytest.fixture
def jobs() -> Held:
    return Held()


@pytest.fixture
def relay(jobs: Held) -> Relay:
    principal = Principal(TENANT, "key", ALL_BUT_ADMIN)
    return Relay(cast(Jobs, jobs), principal, lambda _: Snapshot(10.0, 1, 3, "2", None, None))


async def test_who_comes_back_while_a_job_ends_is_told_the_end(jobs: Held, relay: Relay) -> None:
    working = asyncio.create_task(relay.work())
    first, second = new_ear(), new_ear()
    jobs.go.set()
    await relay.join(first)
    jobs.hold()
    jobs.events.put_nowait(fails())
    await jobs.reading.wait()  # it is being looked up how the job ended
    relay.leave(first)
    jobs.quick = True
    await relay.join(second)
    jobs.go.set()
    await jobs.events.join()
    assert await heard(first) == ["status", "executing 2"]
    assert await heard(second) == ["status", "execution_error", "status", "executing"]
    working.cancel()


async def test_a_node_is_not_told_of_as_running_when_its_job_has_just_ended(jobs: Held, relay: Relay) -> None:
    working = asyncio.create_task(relay.work())
    ear = new_ear()
    joining = asyncio.create_task(relay.join(ear))
    await jobs.reading.wait()  # it is being looked up what runs
    jobs.events.put_nowait(fails())
    await jobs.events.join()
    jobs.go.set()
    await joining
    assert await heard(ear) == ["status"]
    working.cancel()


async def test_who_joins_while_all_stops_is_let_go_too(jobs: Held, relay: Relay) -> None:
    working = asyncio.create_task(relay.work())
    ear = new_ear()
    joining = asyncio.create_task(relay.join(ear))
    await jobs.reading.wait()
    jobs.events.put_nowait(None)
    await working
    jobs.go.set()
    await joining
    async with asyncio.timeout(30):
        assert [frame async for frame in ear.outbox] == []
