"""The bus: a slow listener loses previews first, then what else passes, never a state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.bus import memory
from comfyone.gateway.bus.memory import (
    ALL_PREVIEWS,
    MAX_NUMBERED,
    MAX_PASSING,
    MAX_PREVIEWS,
    MemoryBus,
    Room,
    Subscription,
)
from comfyone.gateway.domain.jobs import JobEvent, Passing
from tests.unit.gateway.engine.samples import TENANT, passing, preview

EVERYTHING = frozenset(Passing)


def numbered(number: int, job_id: str = "job", tenant: str = TENANT) -> JobEvent:
    return JobEvent(tenant, job_id, number, "queued", 0.0)


def position(job_id: str) -> JobEvent:
    return JobEvent(TENANT, job_id, None, Passing.POSITION, 0.0, {"position": 0, "eta": None})


def listener(room: Room | None = None) -> Subscription:
    """One that never reads, to everything of the tenant."""
    return Subscription(TENANT, EVERYTHING, room)


async def drain(events: AsyncIterator[JobEvent]) -> list[JobEvent]:
    """What a closed listener still has."""
    return [event async for event in events]


async def held(subscription: Subscription) -> list[JobEvent]:
    subscription.close()
    return await drain(subscription)


async def test_of_a_jobs_progress_a_slow_listener_gets_the_newest_and_of_its_states_all() -> None:
    slow = listener()
    for number in range(1000):
        slow.offer(passing(percent=number))
        if number % 4 == 0:
            slow.offer(numbered(number))
    slow.offer(passing(percent=1000))
    *states, last = await held(slow)
    assert [event.number for event in states] == list(range(0, 1000, 4))
    assert last.data["percent"] == 1000


async def test_progress_never_comes_before_the_state_that_it_followed() -> None:
    slow = listener()
    for event in (passing(percent=70.0), numbered(4), passing(percent=10.0), numbered(5)):
        slow.offer(event)
    told = await held(slow)
    assert [event.number or event.data["percent"] for event in told] == [4, 10.0, 5]


async def test_previews_make_room_for_progress_and_the_oldest_progress_for_newer() -> None:
    slow = listener()
    for number in range(MAX_PASSING):
        slow.offer(preview(f"shown-{number}"))
    for number in range(MAX_PASSING + 10):
        slow.offer(passing(f"job-{number}"))
    slow.offer(preview("late"))
    slow.offer(numbered(1))
    told = await held(slow)
    assert [event.type for event in told] == [Passing.PROGRESS] * MAX_PASSING + ["queued"]
    assert told[0].job_id == "job-10"


async def test_of_a_jobs_previews_the_newest_is_held() -> None:
    slow = listener()
    for size in range(1, 50):
        slow.offer(preview("one", size))
        slow.offer(preview("two", size))
    told = await held(slow)
    assert [(event.job_id, len(event.data["data"])) for event in told] == [("one", 49), ("two", 49)]


async def test_the_previews_of_a_listener_stay_within_their_bytes() -> None:
    slow, quarter = listener(), MAX_PREVIEWS // 4
    for number in range(20):
        slow.offer(preview(f"job-{number}", quarter))
    slow.offer(preview("huge", MAX_PREVIEWS + 1))
    assert [event.job_id for event in await held(slow)] == [f"job-{number}" for number in range(16, 20)]


async def test_the_previews_of_all_listeners_stay_within_the_bytes_of_the_process() -> None:
    bus, most = MemoryBus(), ALL_PREVIEWS // MAX_PREVIEWS
    with bus.subscribe("first", tenant_id=TENANT, passing=EVERYTHING) as first:
        bus.publish(preview("first", MAX_PREVIEWS))
        opened = [bus.subscribe(f"job-{number}", tenant_id=TENANT, passing=EVERYTHING) for number in range(most)]
        others = [each.__enter__() for each in opened]
        for number in range(most):
            bus.publish(preview(f"job-{number}", MAX_PREVIEWS))
        assert await held(others[-1]) == []
        assert len(await held(others[0])) == 1
        bus.publish(preview("job-1", MAX_PREVIEWS))
        for each in opened:
            each.__exit__(None, None, None)
        with bus.subscribe("late", tenant_id=TENANT, passing=EVERYTHING) as late:
            bus.publish(preview("late", MAX_PREVIEWS))
            assert len(await held(late)) == 1, "what others held was not given back"
        assert len(await held(first)) == 1


offers = st.lists(
    st.one_of(
        st.builds(numbered, st.integers(1, 5), st.sampled_from("abc")),
        st.builds(passing, st.sampled_from("abcdef")),
        st.builds(position, st.sampled_from("abcdef")),
        st.builds(preview, st.sampled_from("abcdef"), st.integers(0, 60)),
        st.none(),
    ),
    max_size=60,
)


@given(offers)
async def test_whatever_comes_and_is_read_no_state_is_lost_and_no_bound_passed(events: list[JobEvent | None]) -> None:
    """A None stands for a reader that takes one event."""
    bounds = memory.MAX_PASSING, memory.MAX_PREVIEWS
    memory.MAX_PASSING, memory.MAX_PREVIEWS = 4, 100
    room = Room(150)
    try:
        slow, read = listener(room), list[JobEvent]()
        for event in events:
            if event is not None:
                slow.offer(event)
            elif slow._waiting:
                read.append(await anext(slow))
            previews = [kept for kept in slow._waiting.values() if kept.type == Passing.PREVIEW]
            bytes_held = sum(len(kept.data["data"]) for kept in previews)
            assert bytes_held == 150 - room.left <= 100
            assert sum(kept.number is None for kept in slow._waiting.values()) <= 4
        read += await held(slow)
    finally:
        memory.MAX_PASSING, memory.MAX_PREVIEWS = bounds
    assert [event for event in read if event.number] == [event for event in events if event and event.number]
    assert room.left == 150


async def test_a_listener_that_is_too_far_behind_is_cut_off_after_what_it_has() -> None:
    slow = listener()
    for number in range(MAX_NUMBERED + 10):
        slow.offer(numbered(number))
    assert [event.number for event in await drain(slow)] == list(range(MAX_NUMBERED))


async def test_one_slow_listener_takes_nothing_from_another() -> None:
    bus = MemoryBus()
    with bus.subscribe("job", tenant_id=TENANT) as slow, bus.subscribe("job", tenant_id=TENANT) as quick:
        for number in range(MAX_NUMBERED + 1):
            bus.publish(numbered(number))
            event = await anext(quick)
            assert event.number == number
        assert len(await drain(slow)) == MAX_NUMBERED


async def test_events_reach_those_who_listen_to_the_job_or_its_tenant_and_nobody_else() -> None:
    bus = MemoryBus()
    with (
        bus.subscribe("job", tenant_id=TENANT) as job,
        bus.subscribe(TENANT, tenant_id=TENANT) as tenant,
        bus.subscribe("other", tenant_id=TENANT) as other,
        bus.subscribe("job", tenant_id="tenant-2", passing=EVERYTHING) as stranger,
    ):
        bus.publish(numbered(1))
        bus.publish(numbered(2, "job-2"))
        bus.publish(numbered(3, "job-3", "tenant-2"))
        bus.publish(preview())
        bus.close()
        heard = [[event.number for event in await drain(events)] for events in (job, tenant, other, stranger)]
    assert heard == [[1], [1, 2], [], []]


async def test_passing_events_reach_those_who_asked_for_their_kind() -> None:
    bus = MemoryBus()
    with (
        bus.subscribe("job", tenant_id=TENANT) as plain,
        bus.subscribe("job", tenant_id=TENANT, passing={Passing.PREVIEW}) as looking,
    ):
        for event in (passing(), preview(), numbered(1)):
            bus.publish(event)
        bus.close()
        assert [event.type for event in await drain(plain)] == ["queued"]
        assert [event.type for event in await drain(looking)] == [Passing.PREVIEW, "queued"]


async def test_the_bus_knows_who_listens_to_what() -> None:
    bus = MemoryBus()
    with bus.subscribe("job", tenant_id=TENANT, passing={Passing.POSITION}):
        with bus.subscribe("job-2", tenant_id=TENANT, passing={Passing.POSITION, Passing.PREVIEW}):
            assert bus.has_listeners("job", Passing.POSITION)
            assert not bus.has_listeners("job", Passing.PREVIEW)
            assert bus.has_listeners("job-2", Passing.PREVIEW)
            assert not bus.has_listeners(TENANT)
            assert (set(bus.audience(Passing.POSITION)), set(bus.audience(Passing.PROGRESS))) == ({TENANT}, set())
        assert set(bus.audience(Passing.POSITION)) == {TENANT}
        assert set(bus.audience(Passing.PREVIEW)) == set()
    assert set(bus.audience(Passing.POSITION)) == set()


async def test_a_listener_waits_for_what_comes_and_is_forgotten_when_it_goes() -> None:
    bus = MemoryBus()
    with bus.subscribe("job", tenant_id=TENANT) as events:
        assert bus.has_listeners("job")
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert not waiting.done()
        bus.publish(numbered(1))
        assert (await waiting).number == 1
    assert not bus.has_listeners("job")


async def test_a_bus_that_is_closed_ends_whoever_listens_now_or_later() -> None:
    bus = MemoryBus()
    with bus.subscribe("job", tenant_id=TENANT) as events:
        bus.close()
        assert await drain(events) == []
    with bus.subscribe("job", tenant_id=TENANT) as late:
        assert await asyncio.wait_for(drain(late), 30) == []


async def test_messages_are_all_kept_in_their_order_among_the_states_for_those_who_ask_for_them() -> None:
    asks, other = Subscription(TENANT, {Passing.MESSAGE}), Subscription(TENANT, {Passing.PROGRESS})
    said = [JobEvent(TENANT, "job", None, Passing.MESSAGE, 0.0, {"hint": number}) for number in range(MAX_PASSING * 2)]
    events = [numbered(1), *said, numbered(2)]
    for event in events:
        asks.offer(event)
        other.offer(event)
    for listening in (asks, other):
        listening.close()
    assert await drain(asks) == events
    assert await drain(other) == [events[0], events[-1]]
