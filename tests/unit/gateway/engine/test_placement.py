"""Placement, by property: whatever waits and whatever is free."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.domain.jobs import Job
from comfyone.gateway.domain.placement import Slot, place
from tests.unit.gateway.engine.samples import queued_job

BACKENDS = ["a", "b", "c", "d"]
slots_of_some = st.lists(
    st.builds(Slot, st.sampled_from(BACKENDS), st.integers(0, 5), st.integers(1, 4), st.floats(0, 9)),
    unique_by=lambda slot: slot.backend_id,
)
wishes = st.lists(st.sampled_from([None, None, *BACKENDS]), max_size=20)


def waiting(wanted: list[str | None]) -> list[Job]:
    return [queued_job(str(number), wanted_backend_id=name) for number, name in enumerate(wanted)]


@given(wishes, slots_of_some)
def test_no_backend_gets_more_than_it_has_room_for(wanted: list[str | None], slots: list[Slot]) -> None:
    placed = Counter(backend for _, backend in place(waiting(wanted), slots))
    for slot in slots:
        assert placed[slot.backend_id] <= max(0, slot.depth - slot.load)
    assert placed.keys() <= {slot.backend_id for slot in slots}


@given(wishes, slots_of_some)
def test_each_job_is_placed_at_most_once_and_in_the_order_of_the_queue(
    wanted: list[str | None], slots: list[Slot]
) -> None:
    ids = [int(job.id) for job, _ in place(waiting(wanted), slots)]
    assert ids == sorted(set(ids))


@given(wishes, slots_of_some)
def test_a_job_that_wants_a_backend_gets_that_one_or_waits(wanted: list[str | None], slots: list[Slot]) -> None:
    for job, backend in place(waiting(wanted), slots):
        assert job.wanted_backend_id in (None, backend)


@given(wishes, slots_of_some)
def test_nothing_waits_while_a_backend_that_may_take_it_is_free(wanted: list[str | None], slots: list[Slot]) -> None:
    jobs = waiting(wanted)
    placed = place(jobs, slots)
    taken = Counter(backend for _, backend in placed)
    free = {slot.backend_id for slot in slots if slot.load + taken[slot.backend_id] < slot.depth}
    left = [job for job in jobs if job.id not in {job.id for job, _ in placed}]
    for job in left:
        able = free if job.wanted_backend_id is None else free & {job.wanted_backend_id}
        assert not able


@given(wishes, slots_of_some)
def test_each_job_goes_to_the_least_busy_backend_of_its_moment(wanted: list[str | None], slots: list[Slot]) -> None:
    load = {slot.backend_id: slot.load for slot in slots}
    depth = {slot.backend_id: slot.depth for slot in slots}
    for job, backend in place(waiting(wanted), slots):
        if job.wanted_backend_id is None:
            assert load[backend] == min(load[name] for name in load if load[name] < depth[name])
        load[backend] += 1


@given(wishes, slots_of_some)
def test_a_job_that_waits_for_its_backend_holds_up_nobody(wanted: list[str | None], slots: list[Slot]) -> None:
    stuck = [*waiting(["nowhere"] * 3), *waiting(wanted)]
    assert [backend for _, backend in place(stuck, slots)] == [backend for _, backend in place(waiting(wanted), slots)]


@given(st.permutations([Slot(name, 0, 9, given_at) for given_at, name in enumerate(BACKENDS)]))
def test_backends_that_are_equally_busy_take_turns_beginning_with_the_one_that_waited_longest(
    slots: list[Slot],
) -> None:
    assert [backend for _, backend in place(waiting([None] * 10), slots)] == [*BACKENDS, *BACKENDS, *BACKENDS[:2]]
