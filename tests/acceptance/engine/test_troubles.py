"""Backends that misbehave: sockets that drop or say nothing, answers that are lost, late or wrong, sudden restarts."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from comfyone.errors import JobFailedError
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.lab import color_of, eventually, inverted
from tests.graphs import failing, sleeping, slow, tiny


def test_sockets_that_drop_all_the_time_cost_no_job_and_no_second_run(lab: MakeLab) -> None:
    here = lab(1, drop_sockets_after=3)
    jobs = {color: here.submit(tiny(color=color)) for color in range(5)}
    for color, job in jobs.items():
        assert color_of(job) == inverted(color)
        here.assert_ran_once(job)


def test_a_socket_that_drops_while_a_job_runs_is_opened_again_and_told_the_rest(lab: MakeLab) -> None:
    here = lab()
    job = here.submit(slow(steps=20, seconds=0.1))
    here.reaches(job, "running")
    here.sandboxes[0].drop_sockets()
    told = [event.percent or 0.0 for event in job.events() if event.type == "progress"]
    assert told == sorted(told)
    assert max(told, default=0) > 50
    here.assert_ran_once(job)


def test_a_socket_that_says_nothing_is_made_up_for_by_looking(lab: MakeLab) -> None:
    here = lab(1, silent_sockets=True)
    jobs = {color: here.submit(tiny(color=color)) for color in range(3)}
    for color, job in jobs.items():
        assert color_of(job) == inverted(color)
        here.assert_ran_once(job)


@pytest.mark.parametrize("knobs", [{"late_end": 1.2}, {"late_history": 1.2}, {"late_end": 0.3, "late_history": 0.6}])
def test_a_history_that_comes_late_makes_no_job_lost(lab: MakeLab, knobs: dict[str, float]) -> None:
    here = lab(1, **knobs)
    job = here.submit(tiny(color=11))
    assert color_of(job) == inverted(11)
    assert job.status().attempts == 1
    here.assert_ran_once(job)


def test_a_late_history_that_nobody_announced_makes_no_job_lost(lab: MakeLab) -> None:
    here = lab(1, silent_sockets=True, late_history=1.5)
    job = here.submit(tiny(color=12))
    assert color_of(job) == inverted(12)
    here.assert_ran_once(job)


def test_a_prompt_whose_answer_was_lost_runs_exactly_once(lab: MakeLab) -> None:
    here = lab(1, lose_answers=2)
    jobs = {color: here.submit(tiny(color=color)) for color in range(4)}
    for color, job in jobs.items():
        assert color_of(job) == inverted(color)
        assert job.status().attempts == 1
        here.assert_ran_once(job)


@pytest.mark.parametrize("path", ["/queue", "/history", "/view"])
def test_answers_of_500_are_waited_out(lab: MakeLab, path: str) -> None:
    here = lab(1, fail_requests={path: 2})
    job = here.submit(tiny(color=13))
    assert color_of(job) == inverted(13)
    assert job.status().attempts == 1
    here.assert_ran_once(job)


def test_a_prompt_that_was_answered_with_500_is_sent_again_once_it_is_sure_that_it_was_not_taken(lab: MakeLab) -> None:
    here = lab(1, fail_requests={"/prompt": 1})
    job = here.submit(tiny(color=14))
    assert color_of(job) == inverted(14)
    assert job.status().attempts == 2
    assert [outcome for _, outcome in here.prompts(job)] == ["backend 's0' never received it", "succeeded"]
    here.assert_ran_once(job)


def test_a_backend_that_refuses_connections_for_a_while_loses_nothing(lab: MakeLab) -> None:
    here = lab()
    (sandbox,) = here.sandboxes
    running = here.submit(slow(steps=5, seconds=0.1, color=0x010203))
    here.reaches(running, "running")
    sandbox.stop_listening()
    eventually(lambda: not here.live())
    waiting = here.submit(tiny(color=15))
    eventually(lambda: here.executions(running)[0].outcome == "success")
    assert running.status().state == "running"
    assert waiting.status().state == "queued"
    sandbox.listen()
    assert color_of(running) == (1, 2, 3)
    assert color_of(waiting) == inverted(15)
    for job in (running, waiting):
        assert job.status().attempts == 1
        here.assert_ran_once(job)


def test_a_restart_that_forgets_everything_sends_its_jobs_again_and_says_so(lab: MakeLab) -> None:
    here = lab()
    jobs = [here.submit(slow(steps=30, seconds=0.05, color=color)) for color in (1, 2)]
    here.reaches(jobs[0], "running")
    here.reaches(jobs[1], "dispatched")
    here.sandboxes[0].restart()
    for job in jobs:
        assert job.wait(40).state == "succeeded"
        assert job.status().attempts == 2
        (again,) = [event for event in job.events() if event.type == "requeued"]
        assert "backend 's0'" in again.data["reason"]
        assert [record.outcome for record in here.records(job)] == ["lost", "success"]
    assert len(here.executions(jobs[1])) == 1, "what waited there ran once"


@pytest.mark.seed("S1-81")
def test_a_node_error_fails_the_job_and_names_the_node_and_is_not_tried_again(lab: MakeLab) -> None:
    here = lab()
    job = here.submit(failing("the tube broke"))
    with pytest.raises(JobFailedError, match="the tube broke") as caught:
        job.result(40)
    assert caught.value.error["type"] == "node_error"
    assert (caught.value.error["node_id"], caught.value.error["node_type"]) == ("2", "TestFail")
    assert [record.outcome for record in here.executions(job)] == ["error"]
    assert job.status().attempts == 1


def test_a_run_that_somebody_else_interrupts_is_failed_and_says_so(lab: MakeLab) -> None:
    here = lab()
    job = here.submit(sleeping(30))
    here.reaches(job, "running")
    interrupt_as_somebody_else(here.sandboxes[0].url)
    status = job.wait(40)
    assert status.state == "failed"
    assert status.error is not None
    assert status.error["type"] == "interrupted"
    assert "s0" in status.error["message"]


def test_a_backend_that_takes_no_prompt_at_all_is_given_up_after_so_many_attempts(own_lab: MakeLab) -> None:
    here = own_lab(1, options=["--attempts", "2"], fail_requests={"/prompt": 1000})
    status = here.submit(tiny()).wait(40)
    assert (status.state, status.attempts) == ("failed", 2)
    assert status.error is not None
    assert status.error["type"] == "backend_lost"
    assert "2 attempts" in status.error["message"]


def test_the_jobs_of_a_backend_that_is_dead_for_good_go_to_another(own_lab: MakeLab) -> None:
    here = own_lab(2, options=["--lost-after", "1"])
    dead, alive = here.sandboxes
    jobs = [here.submit(slow(steps=20, seconds=0.05, color=color)) for color in range(4)]
    for job in jobs:
        here.reaches(job, "dispatched", "running")
    dead.stop_listening()
    for color, job in enumerate(jobs):
        assert color_of(job) == ((color >> 16) & 255, (color >> 8) & 255, color & 255)
    moved = [job for job in jobs if job.status().attempts == 2]
    assert len(moved) == 2
    for job in moved:
        assert job.status().backend == "s1"
        assert here.prompts(job)[0][1] == "backend 's0' was lost"
        assert [record.outcome for record in alive.records.of(here.prompts(job)[1][0])] == ["success"]


def test_a_backend_whose_socket_lives_but_which_answers_nothing_is_lost_too(own_lab: MakeLab) -> None:
    here = own_lab(2, options=["--lost-after", "1"])
    broken, _ = here.sandboxes
    job = here.submit(sleeping(2.0, color=0x040506), backend="s0")
    other = here.submit(slow(steps=3, seconds=0.05, color=0x070809))
    here.reaches(job, "running")
    broken.set(fail_requests={"/queue": 100_000, "/history": 100_000, "/prompt": 100_000})
    assert color_of(other) == (7, 8, 9)
    requeued = eventually(lambda: job.status().attempts != 1 or job.status().state == "queued")
    assert requeued
    assert here.prompts(job)[0][1] == "backend 's0' was lost"


def test_results_that_can_never_be_fetched_do_not_hold_a_job_for_ever(own_lab: MakeLab) -> None:
    here = own_lab(1, options=["--lost-after", "1", "--attempts", "1"], fail_requests={"/view": 100_000})
    status = here.submit(tiny()).wait(40)
    assert status.state == "failed"
    assert status.error is not None
    assert status.error["type"] == "backend_lost"
    assert "results were lost" in status.error["message"]


@pytest.mark.seed("S1-82")
def test_a_job_that_no_backend_can_take_fails_after_a_while_and_says_why(own_lab: MakeLab) -> None:
    here = own_lab(1, options=["--schedule-timeout", "1"])
    here.api.set_backend_state("s0", "down").raise_for_code()
    status = here.submit(tiny()).wait(40)
    assert (status.state, status.attempts) == ("failed", 0)
    assert status.error is not None
    assert status.error["type"] == "unschedulable"
    assert "'s0' is down" in status.error["message"]


def interrupt_as_somebody_else(url: str) -> None:
    import requests

    requests.post(f"{url}/interrupt", timeout=5).raise_for_status()


def test_a_gateway_with_one_dead_backend_serves_the_other_as_if_it_were_alone(lab: MakeLab) -> None:
    here = lab(2)
    here.sandboxes[0].stop_listening()
    eventually(lambda: not here.live("s0"))
    results: dict[int, Any] = {}

    def run(color: int) -> None:
        results[color] = color_of(here.submit(tiny(color=color)))

    threads = [threading.Thread(target=run, args=(color,)) for color in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert results == {color: inverted(color) for color in range(8)}
    assert len(list(here.sandboxes[1].records)) == 8
