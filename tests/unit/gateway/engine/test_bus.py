"""The bus: a slow listener loses what passes, never a state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from comfyone.gateway.bus.memory import MAX_NUMBERED, MAX_PASSING, MemoryBus
from comfyone.gateway.domain.jobs import JobEvent
from tests.unit.gateway.engine.samples import TENANT, passing


def numbered(number: int, job_id: str = "job", tenant: str = TENANT) -> JobEvent:
    return JobEvent(tenant, job_id, number, "queued", 0.0)


async def drain(events: AsyncIterator[JobEvent]) -> list[JobEvent]:
    """What a closed listener still has."""
    return [event async for event in events]


async def test_a_slow_listener_loses_the_oldest_passing_events_and_no_numbered_one() -> None:
    bus = MemoryBus()
    with bus.subscribe("job") as events:
        for number in range(3 * MAX_PASSING):
            bus.publish(passing(percent=number))
            if number % 4 == 0:
                bus.publish(numbered(number))
        bus.close()
        heard = await drain(events)
    kept = [event.data["percent"] for event in heard if event.number is None]
    assert kept == list(range(2 * MAX_PASSING, 3 * MAX_PASSING))
    assert [event.number for event in heard if event.number is not None] == list(range(0, 3 * MAX_PASSING, 4))


async def test_a_listener_that_is_too_far_behind_is_cut_off_after_what_it_has() -> None:
    bus = MemoryBus()
    with bus.subscribe("job") as events:
        for number in range(MAX_NUMBERED + 10):
            bus.publish(numbered(number))
        heard = await drain(events)
    assert [event.number for event in heard] == list(range(MAX_NUMBERED))


async def test_one_slow_listener_takes_nothing_from_another() -> None:
    bus = MemoryBus()
    with bus.subscribe("job") as slow, bus.subscribe("job") as quick:
        for number in range(MAX_NUMBERED + 1):
            bus.publish(numbered(number))
            event = await anext(quick)
            assert event.number == number
        assert len(await drain(slow)) == MAX_NUMBERED


async def test_events_reach_those_who_listen_to_the_job_or_its_tenant_and_nobody_else() -> None:
    bus = MemoryBus()
    with bus.subscribe("job") as job, bus.subscribe(TENANT) as tenant, bus.subscribe("other") as other:
        bus.publish(numbered(1))
        bus.publish(numbered(2, "job-2"))
        bus.publish(numbered(3, "job-3", "tenant-2"))
        bus.close()
        heard = [[event.number for event in await drain(events)] for events in (job, tenant, other)]
    assert heard == [[1], [1, 2], []]


async def test_a_listener_waits_for_what_comes_and_is_forgotten_when_it_goes() -> None:
    bus = MemoryBus()
    with bus.subscribe("job") as events:
        assert bus.has_listeners("job")
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert not waiting.done()
        bus.publish(numbered(1))
        assert (await waiting).number == 1
    assert not bus.has_listeners("job")


async def test_a_bus_that_is_closed_ends_whoever_listens_now_or_later() -> None:
    bus = MemoryBus()
    with bus.subscribe("job") as events:
        bus.close()
        assert await drain(events) == []
    with bus.subscribe("job") as late:
        assert await asyncio.wait_for(drain(late), 1) == []
