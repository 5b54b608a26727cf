"""The queue: who is next, what may be submitted, and how much of it may run at once."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from comfyone.api.job import Job
from comfyone.emulator import Sandbox
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.domain.jobs import JobState
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.inside import open_inside
from tests.acceptance.engine.lab import GRAPHS, Lab, eventually
from tests.graphs import sleeping, slow, tiny
from tests.support.v1 import V1, Answer

THREADS = 16


def order_of(lab: Lab, jobs: list[Job]) -> list[int]:
    """The numbers of jobs in the order in which they began to run."""
    for job in jobs:
        assert job.wait(40).state == "succeeded"
    began = {number: lab.executions(job)[0].started or 0.0 for number, job in enumerate(jobs)}
    return sorted(began, key=lambda number: began[number])


def down(lab: Lab, name: str = "s0") -> None:
    lab.api.set_backend_state(name, "down").raise_for_code()


def up(lab: Lab, name: str = "s0") -> None:
    lab.api.set_backend_state(name, "up").raise_for_code()


def attempt(v1: V1, color: int = 0, **options: Any) -> Answer:
    """A submission, accepted or refused."""
    return v1.post(GRAPHS, {"workflow": tiny(color=color), "outputs": ["3"]}, **options)


def test_jobs_run_by_priority_and_within_it_in_the_order_in_which_they_came(lab: MakeLab) -> None:
    here = lab()
    down(here)
    priorities = [0, 5, 0, 10, 5, 0, 10]
    jobs = [here.submit(tiny(color=number), priority=priority) for number, priority in enumerate(priorities)]
    assert [here.v1.status(job.id)["current"] for job in jobs] == [4, 2, 5, 0, 3, 6, 1]
    up(here)
    assert order_of(here, jobs) == [3, 6, 1, 4, 0, 2, 5]


def test_a_job_that_waits_can_be_given_another_place(lab: MakeLab) -> None:
    here = lab()
    down(here)
    jobs = [here.submit(tiny(color=color), priority=5) for color in range(4)]
    assert here.v1.patch(f"/v1/prompts/{jobs[3].id}", {"priority": 10}).data["current"] == 0
    assert here.v1.patch(f"/v1/prompts/{jobs[0].id}", {"priority": 0}).data["priority"] == 0
    up(here)
    assert order_of(here, jobs) == [3, 1, 2, 0]
    told = [event for event in jobs[3].events() if event.type == "priority"]
    assert [event.data["priority"] for event in told] == [10]


def test_a_job_that_a_backend_has_keeps_its_new_priority_and_goes_on(lab: MakeLab) -> None:
    here = lab()
    job = here.submit(slow(steps=20, seconds=0.1))
    here.reaches(job, "running")
    assert here.v1.patch(f"/v1/prompts/{job.id}", {"priority": 7}).data["state"] == "running"
    assert job.wait(40).state == "succeeded"
    assert here.v1.status(job.id)["priority"] == 7
    here.assert_ran_once(job)


def test_an_end_never_changes_not_even_in_priority(lab: MakeLab) -> None:
    here, there = lab(), lab()
    done = here.submit(tiny())
    assert done.wait(40).state == "succeeded"
    down(here)
    cancelled = here.submit(tiny(color=1))
    cancelled.cancel()
    for job in (done, cancelled):
        answer = here.v1.patch(f"/v1/prompts/{job.id}", {"priority": 1})
        answer.fails("job_finished")
        assert answer.status == 409
    waiting = here.submit(tiny(color=2))
    there.v1.patch(f"/v1/prompts/{waiting.id}", {"priority": 1}).fails("not_found")
    for priority in (-1, 11, 1.5, "high", None):
        here.v1.patch(f"/v1/prompts/{waiting.id}", {"priority": priority}).fails("invalid_body")
    assert here.v1.status(waiting.id)["priority"] == 0


@pytest.mark.seed("S5-48")
def test_a_full_queue_says_so_exactly_at_its_limit_and_takes_more_as_soon_as_it_has_room(own_lab: MakeLab) -> None:
    here = own_lab(settings={"max_queued": 5})
    down(here)
    jobs = [here.submit(tiny(color=color)) for color in range(5)]
    before = here.v1.everything()
    refused = attempt(here.v1, headers={"Idempotency-Key": "sixth"})
    refused.fails("queue_full")
    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert here.v1.everything() == before
    jobs[0].cancel()
    accepted = eventually(lambda: attempt(here.v1, headers={"Idempotency-Key": "sixth"}).body["code"] == 0)
    assert accepted, "a refusal is not remembered under its key"
    attempt(here.v1).fails("queue_full")


def test_what_backends_have_taken_waits_no_more(own_lab: MakeLab) -> None:
    here = own_lab(settings={"max_queued": 2})
    for color in range(20):
        job = here.submit(tiny(color=color), once=True)
        assert job.wait(40).state == "succeeded"


def test_a_repeat_takes_no_leave(own_lab: MakeLab) -> None:
    here = own_lab(settings={"max_queued": 2, "max_per_minute": 2})
    down(here)
    first = attempt(here.v1, headers={"Idempotency-Key": "a"}).data["id"]
    for _ in range(5):
        assert attempt(here.v1, headers={"Idempotency-Key": "a"}).data["id"] == first
    second = attempt(here.v1, 1, headers={"Idempotency-Key": "b"}).data["id"]
    attempt(here.v1, 2).fails("queue_full")
    assert attempt(here.v1, headers={"Idempotency-Key": "a"}).data["id"] == first
    assert attempt(here.v1, 1, headers={"Idempotency-Key": "b"}).data["id"] == second


def test_many_at_once_never_get_past_the_limit(own_lab: MakeLab) -> None:
    here = own_lab(settings={"max_queued": 20})
    down(here)

    def knock(number: int) -> list[Answer]:
        v1 = V1(here.gateway.url, here.key)
        answers = [attempt(v1, number * 10 + turn) for turn in range(5)]
        v1.close()
        return answers

    with ThreadPoolExecutor(THREADS) as pool:
        answers = [answer for some in pool.map(knock, range(THREADS)) for answer in some]
    accepted = [answer for answer in answers if answer.body["code"] == 0]
    assert len(accepted) == 20
    assert {answer.body.get("error") for answer in answers} == {None, "queue_full"}
    assert len(here.v1.everything()["jobs"]) == 20


def test_submissions_of_a_minute_are_counted_and_the_refusal_says_when_to_come_back(own_lab: MakeLab) -> None:
    here = own_lab(settings={"max_per_minute": 3})
    for color in range(3):
        assert here.submit(tiny(color=color)).wait(40).state == "succeeded"
    refused = attempt(here.v1)
    refused.fails("rate_limited")
    assert refused.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    rival = here.gateway.client(here.gateway.key("rival"))
    with rival:
        rival.api.register_backend("r", url=here.sandboxes[0].url).raise_for_code()
        assert rival.api.prompt_workflow(tiny(color=9), outputs=["3"]).raise_for_code()


def test_a_day_of_backend_time_can_be_used_up(own_lab: MakeLab) -> None:
    here = own_lab(settings={"max_backend_seconds": 10})
    assert here.submit(tiny()).wait(40).state == "succeeded"
    book(here, 10.5)
    # what was read of the books is good for a moment
    eventually(lambda: attempt(here.v1).body["code"] != 0)
    refused = attempt(here.v1)
    refused.fails("budget_spent")
    now = datetime.now(UTC)
    midnight = 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
    assert abs(int(refused.headers["Retry-After"]) - midnight) <= 5


def book(lab: Lab, seconds: float) -> None:
    """Enters backend time of today in the tenant's books."""
    lab.execute(
        "INSERT INTO usage SELECT id, ?, 'x', '', 0, 0, 0, ?, 0 FROM tenants WHERE name = 'acme'",
        datetime.now(UTC).date().isoformat(),
        seconds,
    )


def most_at_once(lab: Lab, jobs: list[Job]) -> int:
    """How many of the jobs were on backends at the same time, after our own books."""
    spans = [(began, ended) for job in jobs for began, ended in lab.attempts(job)]
    return max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)


def test_no_more_run_than_may_and_nothing_stands_still_for_it(own_lab: MakeLab) -> None:
    here = own_lab(2, settings={"max_running": 1})
    jobs = [here.submit(tiny(color=color), backend=f"s{color % 2}") for color in range(12)]
    for job in jobs:
        assert job.wait(40).state == "succeeded"
    assert most_at_once(here, jobs) == 1


def test_who_may_run_no_more_leaves_the_rest_to_others(own_lab: MakeLab) -> None:
    here = own_lab(1, settings={"max_running": 2})
    rival = Lab(here.gateway, "rival", *here.sandboxes)
    mine = [here.submit(sleeping(0.3, color=color)) for color in range(6)]
    theirs = [rival.submit(tiny(color=color)) for color in range(6)]
    for job in (*mine, *theirs):
        assert job.wait(40).state == "succeeded"
    assert most_at_once(here, mine) <= 2
    assert most_at_once(rival, theirs) <= 2
    rival.sdk.close()
    rival.v1.close()


def test_the_limits_are_read_from_the_jobs_themselves_and_survive_a_restart(own_lab: MakeLab) -> None:
    here = own_lab(settings={"max_queued": 3})
    down(here)
    jobs = [here.submit(tiny(color=color)) for color in range(3)]
    here.gateway.kill()
    here.gateway.start()
    attempt(here.v1).fails("queue_full")
    jobs[0].cancel()
    assert eventually(lambda: attempt(here.v1).body["code"] == 0)


@pytest.mark.parametrize("field", ["priority", "labels"])
def test_what_a_submission_asks_for_is_in_its_record(lab: MakeLab, field: str) -> None:
    here = lab()
    here.v1.patch("/v1/backends/s0", {"labels": {"gpu": "a"}})
    asked = {"priority": 3, "labels": {"gpu": "a"}}
    job = here.post(tiny(), **{field: asked[field]})
    assert here.v1.status(job.id)[field] == asked[field]


async def test_a_job_is_placed_although_whoever_submitted_it_went_away_before_the_answer(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            submitting = asyncio.create_task(inside.submit(tiny()))
            while not (found := await inside.latest()):
                assert not submitting.done()
                await asyncio.sleep(0)
            submitting.cancel()
            with suppress(asyncio.CancelledError):
                await submitting
            assert (await inside.view(found.job.id)).job.state is JobState.SUCCEEDED


async def test_a_job_whose_end_is_waited_for_is_placed_in_the_transaction_that_accepts_it(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            first = await inside.view(await inside.submit(tiny(1)))  # so the backend is up
            running = asyncio.create_task(inside.run(tiny(2)))
            while (seen := await inside.latest()) is None or seen.job.id == first.job.id:
                assert not running.done()
                await asyncio.sleep(0)
            assert seen.job.state is not JobState.QUEUED
            assert (await running).job.state is JobState.SUCCEEDED
