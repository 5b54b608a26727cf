"""What is written down of jobs: the times of their steps, and what they used."""

from __future__ import annotations

from typing import Any

import pytest

from comfyone.api.job import Job
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.lab import Lab
from tests.graphs import failing, sleeping, slow, tiny


def books(lab: Lab) -> dict[str, Any]:
    """Everything that the tenant of the lab has used, added up."""
    names = ("succeeded", "failed", "cancelled", "backend_seconds", "output_bytes")
    sums = ", ".join(f"SUM({name})" for name in names)
    (row,) = lab.rows(
        f"SELECT {sums} FROM usage WHERE tenant_id = (SELECT tenant_id FROM jobs WHERE id = ?)", lab.newest()
    )
    return dict(zip(names, row, strict=True))


def running_seconds(lab: Lab, jobs: list[Job]) -> float:
    """How long the jobs really ran, after the sandboxes' own clock."""
    return sum((run.ended or 0.0) - (run.started or 0.0) for job in jobs for run in lab.executions(job))


def test_what_was_used_adds_up_with_the_jobs(lab: MakeLab) -> None:
    here = lab(2)
    good = [here.submit(slow(steps=2, seconds=0.1, color=color)) for color in range(4)]
    bad = [here.submit(failing(color=color)) for color in range(2)]
    for job in (*good, *bad):
        job.wait(40)
    stopped = here.submit(sleeping(60))
    here.reaches(stopped, "running")
    stopped.cancel()
    assert stopped.wait(40).state == "cancelled"
    jobs = [*good, *bad, stopped]
    used = books(here)
    assert (used["succeeded"], used["failed"], used["cancelled"]) == (4, 2, 1)
    assert used["output_bytes"] == sum(output.size or 0 for job in good for output in job.status().outputs)
    assert used["output_bytes"] > 0
    really = running_seconds(here, jobs)
    assert really <= used["backend_seconds"] + 0.05 * len(jobs)
    waits = sum(ended - claimed for job in jobs for claimed, ended in here.attempts(job))
    assert 0.8 <= used["backend_seconds"] <= waits, "no more than the jobs were there"


def test_jobs_that_never_reach_a_backend_are_in_the_books_too(lab: MakeLab) -> None:
    here = lab()
    here.learned()
    before = books(here)
    here.api.set_backend_state("s0", "down").raise_for_code()
    here.submit(tiny()).cancel()
    assert here.post(tiny(), labels={"gpu": "none"}).wait(40).state == "failed"
    after = books(here)
    assert after["cancelled"] - (before["cancelled"] or 0) == 1
    assert after["failed"] - (before["failed"] or 0) == 1
    assert after["backend_seconds"] == before["backend_seconds"]


def test_an_attempt_that_was_lost_is_paid_for_and_the_job_counts_once(lab: MakeLab) -> None:
    here = lab()
    job = here.submit(slow(steps=20, seconds=0.05))
    here.reaches(job, "running")
    here.sandboxes[0].restart()
    assert job.wait(40).state == "succeeded"
    used = books(here)
    assert (used["succeeded"], used["failed"], used["cancelled"]) == (1, 0, 0)
    times = here.v1.status(job.id)["times"]
    assert used["backend_seconds"] > times["run"]


def test_the_usage_of_stored_workflows_and_of_each_backend_is_told_apart(lab: MakeLab) -> None:
    here = lab(2)
    workflow = here.v1.workflow(tiny(color=3))
    for name in ("s0", "s1"):
        body = {"workflow_id": workflow["id"], "inputs": [], "backend": name}
        assert here.v1.ended(here.v1.submit(body), wait=40)["state"] == "succeeded"
        assert here.submit(tiny(color=4), backend=name).wait(40).state == "succeeded"
    rows = here.rows(
        "SELECT u.workflow_id, b.name, u.succeeded FROM usage u JOIN backends b ON b.id = u.backend_id "
        "WHERE u.tenant_id = (SELECT tenant_id FROM jobs WHERE id = ?) ORDER BY 1, 2",
        here.newest(),
    )
    assert rows == [("", "s0", 1), ("", "s1", 1), (workflow["id"], "s0", 1), (workflow["id"], "s1", 1)]


@pytest.mark.parametrize("steps", [1, 5])
def test_the_times_of_a_job_make_up_the_whole(lab: MakeLab, steps: int) -> None:
    here = lab()
    ahead = here.submit(slow(steps=5, seconds=0.1, color=1))
    job = here.submit(slow(steps=steps, seconds=0.1, color=2))
    assert ahead.wait(40).state == job.wait(40).state == "succeeded"
    times = here.v1.status(job.id)["times"]
    assert all(seconds >= 0 for seconds in times.values())
    assert times["run"] >= 0.1 * steps - 0.05
    (row,) = here.rows("SELECT finished_at - created_at FROM jobs WHERE id = ?", job.id)
    assert sum(times.values()) == pytest.approx(row[0], abs=0.01)


def test_the_times_of_a_job_that_waits_or_was_never_sent_are_open(lab: MakeLab) -> None:
    here = lab()
    here.api.set_backend_state("s0", "down").raise_for_code()
    job = here.submit(tiny())
    assert set(here.v1.status(job.id)["times"].values()) == {None}
    job.cancel()
    assert set(here.v1.status(job.id)["times"].values()) == {None}
