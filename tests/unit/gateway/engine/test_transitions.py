"""The one door through which jobs change state, on a real database: any sequence of attempted moves keeps the laws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyone.errors import Fault
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.jobs import TERMINAL, TRANSITIONS, Failure, Job, JobState, sources
from comfyone.gateway.domain.placement import Slot
from comfyone.gateway.ports import Offer
from comfyone.gateway.storage.session import SqlSession
from comfyone.gateway.storage.transitions import transition
from tests.unit.gateway.engine.samples import TENANT, new_job, open_session

STATES = list(JobState)
moves = st.lists(st.tuples(st.sampled_from(STATES), st.integers(-1, 1)), min_size=1, max_size=25)


def attempt_move(session: SqlSession, job: Job, target: JobState, attempt: int, now: float) -> bool:
    columns: dict[JobState, dict[str, Any]] = {
        JobState.DISPATCHED: {"backend_id": "a"},
        **{state: {"error": None} for state in TERMINAL},
    }
    return transition(session, job.id, target, attempt=attempt, now=now, **columns.get(target, {}))


def job_in(session: SqlSession) -> Job:
    door = session.tenant(TENANT)
    job_id = door.add_job(new_job())
    return door.job(job_id).job


@given(moves)
@settings(max_examples=60, deadline=None)
def test_any_sequence_of_moves_keeps_the_table_and_numbers_its_events_without_a_gap(
    attempted: Sequence[tuple[JobState, int]],
) -> None:
    with TemporaryDirectory() as folder, open_session(Path(folder) / "db", "a") as session:
        door = session.tenant(TENANT)
        job = job_in(session)
        walked = [JobState.QUEUED]
        for step, (target, offset) in enumerate(attempted):
            before = door.job(job.id).job
            moved = attempt_move(session, job, target, before.attempt + offset, float(step))
            after = door.job(job.id).job
            assert moved == (offset == 0 and target in TRANSITIONS[before.state])
            if moved:
                walked.append(target)
                assert after.state is target
                assert after.attempt == before.attempt + (target is JobState.DISPATCHED)
            else:
                assert after == before
        events = door.events(job.id, 0)
        assert [event.number for event in events] == list(range(1, len(walked) + 1))
        assert [state for state in walked if state in TERMINAL] == walked[len(walked) - (walked[-1] in TERMINAL) :]
        kept = [event.type.replace("requeued", JobState.QUEUED) for event in events]
        assert kept == walked
        assert [event for event in session.events if event.job_id == job.id] == events


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_job_that_has_ended_never_changes(tmp_path: Path, state: JobState) -> None:
    with open_session(tmp_path / "db", "a") as session:
        job = job_in(session)
        assert session.engine.claim(job, Slot("a", 0, 1), new_id(), 1.0)
        job = session.tenant(TENANT).job(job.id).job
        assert attempt_move(session, job, state, 1, 2.0)
        ended = session.tenant(TENANT).job(job.id)
        for target in JobState:
            assert not attempt_move(session, job, target, 1, 3.0)
        with pytest.raises(Fault, match=f"has {state} already") as caught:
            session.tenant(TENANT).cancel(job.id, 4.0)
        assert caught.value.slug == "job_finished"
        assert session.tenant(TENANT).job(job.id) == ended


def test_every_state_can_be_reached_and_only_terminal_ones_are_final() -> None:
    assert {state for state, following in TRANSITIONS.items() if not following} == TERMINAL
    for state in JobState:
        assert sources(state)
        assert set(sources(state)) == {before for before in JobState if state in TRANSITIONS[before]}


def test_whoever_followed_an_earlier_attempt_changes_nothing_any_more(tmp_path: Path) -> None:
    with open_session(tmp_path / "db", "a", "b") as session:
        door, engine = session.tenant(TENANT), session.engine
        first = engine.claim(job_in(session), Slot("a", 0, 1), new_id(), 1.0)
        assert first is not None
        assert engine.requeue(first.job, "lost", 2.0)
        second = engine.claim(door.job(first.job.id).job, Slot("b", 0, 1), new_id(), 3.0)
        assert second is not None
        current = door.job(first.job.id)
        assert not engine.begin(first.job, 4.0)
        assert not engine.requeue(first.job, "again", 4.0)
        for state in TERMINAL:
            assert not engine.end(first.job, state, 4.0, outcome="late", failure=Failure("node_error", "late"))
        assert door.job(first.job.id) == current
        assert engine.end(second.job, JobState.SUCCEEDED, 5.0, outcome="succeeded")


def test_a_job_is_claimed_once_however_often_it_is_tried(tmp_path: Path) -> None:
    with open_session(tmp_path / "db", "a", "b") as session:
        job = job_in(session)
        claims = [session.engine.claim(job, Slot(name, 0, 1), new_id(), 1.0) for name in ("a", "b", "a")]
        assert [claim is not None for claim in claims] == [True, False, False]
        assert [placed.prompt_id for placed in session.engine.placed()] == [claims[0] and claims[0].prompt_id]


def test_every_attempt_is_on_record_with_how_it_ended(tmp_path: Path) -> None:
    with open_session(tmp_path / "db", "a") as session:
        job = job_in(session)
        for now in (1.0, 3.0):
            claim = session.engine.claim(session.tenant(TENANT).job(job.id).job, Slot("a", 0, 1), new_id(), now)
            assert claim
            session.engine.requeue(claim.job, f"lost at {now + 1:g}", now + 1)
        rows = session.all("SELECT number, backend_id, claimed_at, ended_at, outcome FROM attempts ORDER BY number")
        assert rows == [(1, "a", 1.0, 2.0, "lost at 2"), (2, "a", 3.0, 4.0, "lost at 4")]
        types = [(event.type, event.data.get("reason")) for event in session.tenant(TENANT).events(job.id, 0)]
        assert types == [
            ("queued", None),
            ("dispatched", None),
            ("requeued", "lost at 2"),
            ("dispatched", None),
            ("requeued", "lost at 4"),
        ]


def test_a_job_that_is_to_be_cancelled_never_goes_back_to_the_queue(tmp_path: Path) -> None:
    with open_session(tmp_path / "db", "a") as session:
        claim = session.engine.claim(job_in(session), Slot("a", 0, 1), new_id(), 1.0)
        assert claim
        door = session.tenant(TENANT)
        assert door.cancel(claim.job.id, 2.0).state is JobState.DISPATCHED
        assert session.engine.requeue(claim.job, "its backend was removed", 3.0)
        assert door.job(claim.job.id).job.state is JobState.CANCELLED
        assert session.engine.waiting(TENANT, Offer(9e9, ["a"]), None, 10) == []


def test_the_queue_gives_higher_priority_first_then_the_earlier(tmp_path: Path) -> None:
    with open_session(tmp_path / "db", "a", "b") as session:
        door = session.tenant(TENANT)
        ids = [door.add_job(new_job(priority=priority)) for priority in (0, 5, 0, 10, 5)]
        bound = door.add_job(new_job(priority=9, backend_id="b"))
        expected = [ids[3], ids[1], ids[4], ids[0], ids[2]]
        assert [job.id for job in session.engine.waiting(TENANT, Offer(9e9, ["a"]), None, 10)] == expected
        assert [job.id for job in session.engine.waiting(TENANT, Offer(9e9, ["b"]), None, 3)] == [ids[3], bound, ids[1]]
        assert [door.job(job_id).position for job_id in (ids[3], bound, ids[2])] == [0, 1, 5]
