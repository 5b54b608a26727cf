"""Backends that cannot be trusted for a while: why, what that means for jobs, and how they come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.inside import QUICK, open_inside, soon
from tests.acceptance.engine.lab import Lab, color_of, eventually, inverted
from tests.graphs import sleeping, slow, tiny


def record(lab: Lab, name: str = "s0") -> dict[str, Any]:
    return dict(lab.v1.get(f"/v1/backends/{name}").data)


def history(lab: Lab, name: str = "s0") -> list[tuple[str, str | None]]:
    """What the backend has been, and why, the earliest first."""
    changes = lab.v1.get(f"/v1/backends/{name}/history").data
    return [(change["condition"], change["reason"]) for change in reversed(changes)]


def quarantined(lab: Lab) -> dict[str, Any]:
    """The record of the first backend, once it is quarantined."""
    found: list[dict[str, Any]] = []
    eventually(lambda: found.append(record(lab)) or found[-1]["status"] == "quarantined")  # type: ignore[func-returns-value]
    return found[-1]


def test_a_backend_that_lost_a_job_gets_no_more_until_a_probe_is_good(lab: MakeLab) -> None:
    here = lab(2)
    job = here.submit(slow(steps=400, seconds=0.01, color=0x010203))
    here.reaches(job, "running")
    here.sandboxes[0].restart()
    seen = quarantined(here)
    assert seen["is_live"], "it answers, but is not trusted"
    assert "has forgotten it" in seen["reason"]
    assert color_of(job) == (1, 2, 3)
    assert (job.status().backend, job.status().attempts) == ("s1", 2)
    eventually(lambda: record(here)["status"] == "running")
    assert record(here)["reason"] is None
    eventually(lambda: [condition for condition, _ in history(here)][-2:] == ["quarantined", "live"])
    assert history(here)[0] == ("live", None)
    (reason,) = [reason for condition, reason in history(here) if condition == "quarantined"]
    assert reason == "backend 's0' has forgotten it, as after a restart"
    assert {here.submit(tiny(color=color)).wait(40).backend for color in range(4)} == {"s0", "s1"}


@pytest.mark.seed("S3-71")
def test_calls_that_fail_again_and_again_quarantine_a_backend_and_its_job_is_not_lost(lab: MakeLab) -> None:
    here = lab()
    job = here.submit(sleeping(1.0, color=0x040506))
    here.reaches(job, "running")
    here.sandboxes[0].set(fail_requests={"/queue": 3, "/history": 3})
    seen = quarantined(here)
    assert "500" in seen["reason"]
    assert color_of(job) == (4, 5, 6)
    here.assert_ran_once(job)
    later = here.submit(tiny(color=1))
    assert color_of(later) == inverted(1), "after a good probe it is used again"


async def test_three_pings_in_a_row_that_fail_open_the_circuit_and_two_do_not(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=QUICK) as inside:
            sandbox.set(fail_requests={"/prompt": 2})
            await soon(lambda: sandbox.scenario.fail_requests["/prompt"] == 0)
            job = await inside.ended(await inside.submit(tiny()))
            assert (job.state, job.attempt) == ("succeeded", 1)
            assert await inside.conditions() == ["live"]
            sandbox.set(fail_requests={"/prompt": 5})
            await soon(lambda: sandbox.scenario.fail_requests["/prompt"] == 0)
            job = await inside.ended(await inside.submit(tiny(color=1)))
            assert (job.state, job.attempt) == ("succeeded", 1), "nothing was sent there meanwhile"
            assert await inside.conditions() == ["live", "quarantined", "live"]


def test_a_backend_that_drains_finishes_what_it_has_and_takes_no_more(lab: MakeLab) -> None:
    here = lab()
    running, behind = here.submit(slow(steps=20, seconds=0.05, color=1)), here.submit(tiny(color=2))
    here.reaches(running, "running")
    here.reaches(behind, "dispatched")
    here.api.set_backend_state("s0", "draining").raise_for_code()
    waiting = here.submit(tiny(color=3))
    assert running.wait(40).state == behind.wait(40).state == "succeeded"
    assert record(here)["status"] == "draining"
    assert waiting.status().state == "queued"
    assert here.prompts(waiting) == []
    here.api.set_backend_state("s0", "up").raise_for_code()
    assert color_of(waiting) == inverted(3)


def test_a_node_that_hangs_is_interrupted_its_backend_quarantined_and_the_job_goes_elsewhere(own_lab: MakeLab) -> None:
    here = own_lab(each=[{"hang": ["ImageInvert"]}, {}], settings={"stall_after": 1})
    job = here.submit(tiny(color=5))
    assert color_of(job) == inverted(5)
    assert (job.status().backend, job.status().attempts) == ("s1", 2)
    eventually(lambda: [record.outcome for record in here.executions(job)] == ["interrupted", "success"])
    assert here.prompts(job)[0][1] == "backend 's0' made no progress for 1 s"
    assert ("quarantined", "backend 's0' made no progress for 1 s") in history(here)
    assert [condition for condition, _ in history(here, "s1")] == ["live"]


def test_a_node_that_is_slow_but_tells_its_progress_is_not_stuck(own_lab: MakeLab) -> None:
    here = own_lab(settings={"stall_after": 1})
    job = here.submit(slow(steps=10, seconds=0.4, color=0x060708))
    assert color_of(job) == (6, 7, 8)
    here.assert_ran_once(job)
    assert [condition for condition, _ in history(here)] == ["live"]


def test_a_job_that_gets_stuck_on_two_backends_is_poison(own_lab: MakeLab) -> None:
    here = own_lab(3, settings={"stall_after": 1, "attempts": 5}, hang=["ImageInvert"])
    job = here.submit(tiny())
    status = job.wait(40)
    assert (status.state, status.attempts) == ("failed", 2)
    assert status.error is not None
    assert status.error["type"] == "poison"
    assert "2 backends died or got stuck with it" in status.error["message"]
    outcomes = [outcome for _, outcome in here.prompts(job)]
    assert outcomes == [f"backend 's{number}' made no progress for 1 s" for number in (0, 1)]
    assert list(here.sandboxes[2].records) == [], "a third is not tried"


def test_a_job_that_two_backends_die_with_is_poison(lab: MakeLab) -> None:
    here = lab(2)
    job = here.submit(sleeping(60))
    for sandbox in here.sandboxes:
        eventually(lambda sandbox=sandbox: [each for each in sandbox.records if each.started is not None])  # type: ignore[misc]
        here.reaches(job, "running")
        sandbox.restart()
        eventually(lambda: job.status().state != "running")
    status = job.wait(40)
    assert status.error is not None
    assert status.error["type"] == "poison"
    assert [outcome for _, outcome in here.prompts(job)] == [
        f"backend 's{number}' has forgotten it, as after a restart" for number in (0, 1)
    ]


def test_a_job_that_one_backend_dies_with_twice_is_not_poison_yet(own_lab: MakeLab) -> None:
    here = own_lab(1, settings={"stall_after": 1, "attempts": 2}, hang=["ImageInvert"])
    status = here.submit(tiny()).wait(40)
    assert status.error is not None
    assert status.error["type"] == "backend_lost"
    assert "2 attempts" in status.error["message"]
