"""The gateway is killed at every point of a job's life: what was accepted ends in the right state, and ran once."""

from __future__ import annotations

import random
import threading
import time
import uuid

import pytest

from comfyone.api.job import Job
from comfyone.errors import APIError
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.lab import Lab, color_of, eventually, inverted
from tests.graphs import sleeping, slow, tiny


def test_an_accepted_job_survives_a_kill_right_after_the_answer(own_lab: MakeLab) -> None:
    lab = own_lab()
    jobs = {}
    for color in range(2):
        jobs[color] = lab.submit(tiny(color=color))
        lab.gateway.kill()
        lab.gateway.start()
        assert jobs[color].status().state in ("queued", "dispatched", "running", "succeeded")
    for color, job in jobs.items():
        assert color_of(job) == inverted(color)
        lab.assert_ran_once(job)


def test_a_job_that_was_queued_when_the_gateway_died_runs_after_the_restart(own_lab: MakeLab) -> None:
    lab = own_lab()
    (sandbox,) = lab.sandboxes
    sandbox.stop_listening()
    eventually(lambda: not lab.live())
    job = lab.submit(tiny())
    lab.gateway.kill()
    lab.gateway.start()
    assert job.status().state == "queued"
    sandbox.listen()
    assert job.wait(40).state == "succeeded"
    assert job.status().attempts == 1
    lab.assert_ran_once(job)


def test_a_prompt_whose_answer_nobody_heard_is_found_after_the_restart_and_runs_once(own_lab: MakeLab) -> None:
    lab = own_lab(lose_answers=1)
    job = lab.submit(slow(steps=5, seconds=0.2))
    eventually(lambda: lab.records(job))
    lab.gateway.kill()
    lab.gateway.start()
    status = job.wait(40)
    assert (status.state, status.attempts) == ("succeeded", 1)
    lab.assert_ran_once(job)


def test_a_prompt_that_never_left_is_sent_again_after_the_restart(own_lab: MakeLab) -> None:
    lab = own_lab(slow_requests={"/prompt": 30.0})
    job = lab.submit(tiny())
    lab.reaches(job, "dispatched")
    lab.gateway.kill()
    lab.sandboxes[0].set(slow_requests={})
    lab.gateway.start()
    status = job.wait(40)
    assert (status.state, status.attempts) == ("succeeded", 2)
    assert [event.type for event in job.events()] == [
        "queued",
        "dispatched",
        "requeued",
        "dispatched",
        "running",
        "succeeded",
    ]
    lab.assert_ran_once(job)


def test_a_running_job_is_taken_up_again_with_its_progress(own_lab: MakeLab) -> None:
    lab = own_lab()
    job = lab.submit(slow(steps=600, seconds=0.1))
    lab.reaches(job, "running")
    lab.gateway.kill()
    lab.gateway.start()
    told = next(event for event in job.events() if event.type == "progress")
    assert told.percent
    assert job.status().percent >= told.percent
    job.cancel()
    status = job.wait(40)
    assert (status.state, status.attempts) == ("cancelled", 1)
    assert [record.outcome for record in lab.executions(job)] == ["interrupted"]


def test_a_job_that_ended_while_the_gateway_was_away_has_its_result_fetched(own_lab: MakeLab) -> None:
    lab = own_lab()
    job = lab.submit(slow(steps=5, seconds=0.1, color=0x112233))
    lab.reaches(job, "running")
    lab.gateway.kill()
    eventually(lambda: [record.outcome for record in lab.executions(job)] == ["success"])
    lab.gateway.start()
    assert color_of(job) == (0x11, 0x22, 0x33)
    lab.assert_ran_once(job)


@pytest.mark.parametrize("inline_size", [0, 16384])
def test_a_kill_while_results_are_fetched_loses_none(own_lab: MakeLab, inline_size: int) -> None:
    lab = own_lab(slow_requests={"/view": 30.0}, settings={"inline_size": inline_size})
    job = lab.submit(tiny(color=7))
    eventually(lambda: [record.outcome for record in lab.executions(job)] == ["success"])
    assert job.status().state in ("dispatched", "running"), "finished without its result"
    lab.gateway.kill()
    lab.sandboxes[0].set(slow_requests={})
    lab.gateway.start()
    assert color_of(job) == inverted(7)
    lab.assert_ran_once(job)


def test_a_cancellation_that_was_under_way_is_carried_out_after_the_restart(own_lab: MakeLab) -> None:
    lab = own_lab()
    (sandbox,) = lab.sandboxes
    job = lab.submit(sleeping(60))
    lab.reaches(job, "running")
    sandbox.set(slow_requests={"/queue": 30.0, "/interrupt": 30.0})
    answer = job.cancel()
    assert answer is not None
    assert (answer.state, answer.cancelling) == ("running", True)
    lab.gateway.kill()
    assert [record.outcome for record in lab.executions(job)] == [None]
    sandbox.set(slow_requests={})
    lab.gateway.start()
    assert job.wait(40).state == "cancelled"
    assert [record.outcome for record in lab.executions(job)] == ["interrupted"]


class Submitter(threading.Thread):
    """Submits jobs, quick ones and slow ones, until it is stopped. Each colour is submitted until that was answered."""

    def __init__(self, lab: Lab, chance: random.Random) -> None:
        super().__init__(name="submitter")
        self.accepted: dict[int, Job] = {}
        self.stopped = threading.Event()
        self._lab = lab
        self._chance = chance

    def run(self) -> None:
        color = 0
        while not self.stopped.is_set():
            color += 1
            self._submit(color)
            self.stopped.wait(self._chance.uniform(0.0, 0.1))

    def _submit(self, color: int) -> None:
        steps = self._chance.choice([0, 0, 0, 4])
        graph = tiny(color=color) if steps == 0 else _slow_and_inverted(color, steps)
        key = uuid.uuid4().hex
        while True:
            try:
                self.accepted[color] = self._lab.submit(graph, once=True, idempotency_key=key)
                return
            except APIError:  # the gateway is dead, or died before it answered
                time.sleep(0.05)  # to the end: what was not answered may have been accepted


def _slow_and_inverted(color: int, steps: int) -> dict[str, dict[str, object]]:
    graph = slow(steps=steps, seconds=0.05, color=color)
    graph["4"] = {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}}
    graph["3"]["inputs"]["images"] = ["4", 0]
    return graph


@pytest.mark.parametrize("seed", range(4))
def test_kills_at_random_moments_lose_no_job_and_repeat_none(own_lab: MakeLab, seed: int) -> None:
    lab, chance = own_lab(2, settings={"inline_size": seed % 2 * 16384}), random.Random(seed)
    submitter = Submitter(lab, random.Random(seed + 100))
    submitter.start()
    try:
        for _ in range(3):
            wanted = len(submitter.accepted) + chance.randint(1, 8)
            eventually(lambda: len(submitter.accepted) >= wanted)  # noqa: B023 - called at once
            time.sleep(chance.uniform(0.0, 0.3))  # any moment: that is what is tested
            lab.gateway.kill()
            lab.gateway.start()
    finally:
        submitter.stopped.set()
        submitter.join(40)
    for color, job in submitter.accepted.items():
        assert color_of(job) == inverted(color), job.id
        lab.assert_ran_once(job)
        assert [event.number for event in job.events()] == list(range(1, len(list(job.events())) + 1))
    ran = sum(record.started is not None for sandbox in lab.sandboxes for record in sandbox.records)
    assert ran == len({job.id for job in submitter.accepted.values()}), "something ran that nobody was told of"
