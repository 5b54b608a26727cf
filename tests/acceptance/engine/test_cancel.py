"""Cancelling, wherever a job is at that moment: the job ends, and no other is touched."""

from __future__ import annotations

import time

import pytest

from comfyone.api.job import Job
from comfyone.errors import ConflictError, JobCancelledError, NotFoundError
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.lab import Lab, color_of, eventually
from tests.graphs import sleeping, slow, tiny


def outcomes(lab: Lab, job: Job) -> list[str | None]:
    return [record.outcome for record in lab.records(job)]


def test_a_job_that_waits_here_is_cancelled_at_once_and_never_sent(lab: MakeLab) -> None:
    here = lab()
    here.api.set_backend_state("s0", "down").raise_for_code()
    job = here.submit(tiny())
    answer = job.cancel()
    assert answer is not None
    assert answer.state == "cancelled"
    here.api.set_backend_state("s0", "up").raise_for_code()
    assert color_of(here.submit(tiny(color=1)))
    assert here.prompts(job) == []
    assert [event.type for event in job.events()] == ["queued", "cancelled"]


@pytest.mark.seed("S1-26", "S1-81")
def test_a_job_that_runs_is_interrupted_and_its_neighbour_on_the_backend_finishes(lab: MakeLab) -> None:
    here = lab()
    job, neighbour = here.submit(sleeping(60)), here.submit(tiny(color=2))
    here.reaches(job, "running")
    here.reaches(neighbour, "dispatched")
    job.cancel()
    with pytest.raises(JobCancelledError):
        job.result(40)
    assert outcomes(here, job) == ["interrupted"]
    assert neighbour.wait(40).state == "succeeded"
    here.assert_ran_once(neighbour)


def test_a_job_in_the_queue_of_its_backend_is_taken_out_and_what_runs_there_goes_on(lab: MakeLab) -> None:
    here = lab()
    running = here.submit(slow(steps=20, seconds=0.1, color=0x010203))
    here.reaches(running, "running")
    job = here.submit(tiny())
    eventually(lambda: here.records(job))
    job.cancel()
    assert job.wait(40).state == "cancelled"
    assert outcomes(here, job) == ["deleted"]
    assert here.executions(job) == []
    assert running.status().state == "running"
    assert color_of(running) == (1, 2, 3)
    here.assert_ran_once(running)


def test_a_job_that_hangs_can_be_cancelled_and_frees_its_backend(lab: MakeLab) -> None:
    here = lab(1, hang=["ImageInvert"])
    job = here.submit(tiny())
    here.reaches(job, "running")
    here.sandboxes[0].set(hang=[])
    job.cancel()
    assert job.wait(40).state == "cancelled"
    assert here.submit(tiny(color=3)).wait(40).state == "succeeded"


def test_a_job_that_finishes_while_it_is_cancelled_ends_one_way_or_the_other_and_stays_so(lab: MakeLab) -> None:
    here = lab(1, late_end=0.4)
    job = here.submit(tiny())
    eventually(lambda: outcomes(here, job) == ["success"])
    job.cancel()
    status = job.wait(40)
    assert status.state == "succeeded", "its result was there"
    with pytest.raises(ConflictError) as caught:
        job.cancel()
    assert caught.value.error == "job_finished"
    assert job.status() == status


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.03, 0.1])
def test_a_cancellation_at_any_moment_leaves_the_job_and_the_backend_in_agreement(lab: MakeLab, moment: float) -> None:
    here = lab()
    jobs = [here.submit(slow(steps=4, seconds=0.02, color=color)) for color in range(4)]
    time.sleep(moment)  # any moment: that is what is tested
    for job in jobs:
        try:
            job.cancel()
        except ConflictError:
            assert job.status().ended
    for job in jobs:
        state = job.wait(40).state
        assert state in ("cancelled", "succeeded")
        allowed = {"cancelled": {"interrupted", "deleted"}, "succeeded": {"success"}}[state]
        assert set(outcomes(here, job)) <= allowed, state
        types = [event.type for event in job.events()]
        assert types[-1] == state
        assert "requeued" not in types
    assert here.submit(tiny(color=9)).wait(40).state == "succeeded"


def test_the_answer_to_a_cancellation_does_not_wait_for_a_backend_that_is_stuck(lab: MakeLab) -> None:
    here = lab()
    (sandbox,) = here.sandboxes
    job = here.submit(sleeping(60))
    here.reaches(job, "running")
    sandbox.set(slow_requests={"/queue": 6.0})
    began = time.monotonic()
    answer = job.cancel()
    assert time.monotonic() - began < 4
    assert answer is not None
    assert answer.cancelling
    sandbox.set(slow_requests={})
    assert job.wait(40).state == "cancelled"
    assert outcomes(here, job) == ["interrupted"]


def test_a_backend_that_cannot_stop_at_once_is_not_asked_without_pause(lab: MakeLab) -> None:
    here = lab(1, fail_requests={"/interrupt": 1000})
    job = here.submit(sleeping(2.0))
    here.reaches(job, "running")
    job.cancel()
    assert job.wait(40).state == "succeeded", "nothing could stop it"
    assert 2 <= 1000 - here.sandboxes[0].scenario.fail_requests["/interrupt"] <= 6


def test_a_cancellation_while_the_backend_is_away_is_carried_out_when_it_is_back(lab: MakeLab) -> None:
    here = lab()
    (sandbox,) = here.sandboxes
    job = here.submit(sleeping(60))
    here.reaches(job, "running")
    sandbox.stop_listening()
    eventually(lambda: not here.live())
    job.cancel()
    assert job.status().state == "running"
    sandbox.listen()
    assert job.wait(40).state == "cancelled"
    assert outcomes(here, job) == ["interrupted"]


def test_a_job_that_was_to_be_cancelled_when_its_backend_was_removed_is_cancelled(lab: MakeLab) -> None:
    here = lab()
    (sandbox,) = here.sandboxes
    job = here.submit(sleeping(60))
    here.reaches(job, "running")
    sandbox.stop_listening()
    job.cancel()
    here.api.delete_backend("s0").raise_for_code()
    assert job.wait(40).state == "cancelled"


def test_nobody_elses_job_can_be_cancelled(lab: MakeLab) -> None:
    here, there = lab(), lab()
    job = here.submit(sleeping(2))
    with pytest.raises(NotFoundError):
        there.sdk.job(job.id).cancel()
    assert not job.status().cancelling
    job.cancel()
    assert job.wait(40).state == "cancelled"


def test_a_server_that_knows_no_targets_stops_exactly_the_one_job(lab: MakeLab) -> None:
    here = lab(1, untargeted_interrupts=True)
    running, waiting = here.submit(sleeping(60)), here.submit(tiny(color=4))
    here.reaches(running, "running")
    eventually(lambda: here.records(waiting))
    waiting.cancel()
    assert waiting.wait(40).state == "cancelled"
    assert outcomes(here, waiting) == ["deleted"]
    assert running.status().state == "running"
    neighbour = here.submit(tiny(color=5))
    eventually(lambda: here.records(neighbour))
    running.cancel()
    assert running.wait(40).state == "cancelled"
    assert outcomes(here, running) == ["interrupted"]
    assert neighbour.wait(40).state == "succeeded"
    here.assert_ran_once(neighbour)


def test_a_server_that_knows_no_targets_and_takes_its_time_is_told_once(lab: MakeLab) -> None:
    here = lab(1, untargeted_interrupts=True)
    meant, neighbour = here.submit(sleeping(60)), here.submit(sleeping(3, color=5))
    here.reaches(meant, "running")
    eventually(lambda: here.records(neighbour))
    here.sandboxes[0].set(slow_requests={"/interrupt": 1.3})  # the gateway looks again meanwhile, and still sees it run
    meant.cancel()
    assert meant.wait(40).state == "cancelled"
    assert neighbour.wait(40).state == "succeeded"
    here.assert_ran_once(neighbour)


def test_a_job_that_was_hit_in_place_of_another_runs_again(lab: MakeLab) -> None:
    here = lab(1, untargeted_interrupts=True)
    (sandbox,) = here.sandboxes
    meant, hit = here.submit(slow(steps=5, seconds=0.1, color=1)), here.submit(slow(steps=40, seconds=0.1, color=2))
    here.reaches(meant, "running")
    eventually(lambda: here.records(hit))
    sandbox.set(slow_requests={"/interrupt": 2.0})  # by when the one that is meant has ended, and the next one runs
    meant.cancel()
    assert meant.wait(40).state == "succeeded", "it came too late"
    sandbox.set(slow_requests={})
    assert color_of(hit) == (0, 0, 2)
    *earlier, last = outcomes(here, hit)
    assert last == "success"
    assert set(earlier) == {"interrupted"}, "once or twice: the gateway asks again for what does not stop"
    *reasons, _ = [outcome for _, outcome in here.prompts(hit)]
    assert set(reasons) == {"an interrupt that meant another prompt hit it"}
