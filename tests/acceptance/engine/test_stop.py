"""Stopping in good order: quick, and without harm to what runs."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from comfyone.wire.v1 import JobStatus
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.lab import color_of, eventually
from tests.graphs import slow


@pytest.mark.seed("S3-87")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_a_job_runs_is_quick_and_the_job_finishes_after_the_restart(
    own_lab: MakeLab, number: signal.Signals
) -> None:
    lab = own_lab()
    job = lab.submit(slow(steps=30, seconds=0.1, color=0x010203))
    lab.reaches(job, "running")
    began = time.monotonic()
    lab.gateway.stop(number)
    assert time.monotonic() - began < 4
    assert [record.outcome for record in lab.executions(job)] == [None], "the backend goes on with it"
    lab.gateway.start()
    assert color_of(job) == (1, 2, 3)
    assert job.status().attempts == 1
    lab.assert_ran_once(job)
    assert "Traceback" not in lab.gateway.log()


def test_those_who_wait_do_not_hold_a_stop_up_and_wait_on_after_the_restart(own_lab: MakeLab) -> None:
    lab = own_lab()
    job = lab.submit(slow(steps=600, seconds=0.1))
    lab.reaches(job, "running")
    waited: list[JobStatus] = []
    heard: list[str] = []

    def listen() -> None:
        for event in job.events():
            heard.append(event.type)

    waiting = threading.Thread(target=lambda: waited.append(job.wait(40)))
    listening = threading.Thread(target=listen)
    waiting.start()
    lab.sdk.ws.start()
    listening.start()
    eventually(lambda: "progress" in heard and lab.sdk.ws.is_connected())
    began = time.monotonic()
    lab.gateway.stop()
    assert time.monotonic() - began < 4
    lab.gateway.start()
    job.cancel()
    waiting.join(40)
    listening.join(40)
    assert [status.state for status in waited] == ["cancelled"]
    assert [kind for kind in heard if kind != "progress"] == ["queued", "dispatched", "running", "cancelled"]
