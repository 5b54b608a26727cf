"""Many jobs, several backends: who gets what, and what happens when backends come and go."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from comfyone import WorkflowInputPayload, WorkflowOutput, WorkflowOutputPayload, WorkflowPayload
from comfyone.api.job import Job
from comfyone.errors import InvalidRequestError
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.lab import Lab, color_of, eventually, inverted
from tests.graphs import invert_upload, node, sleeping, slow, tiny
from tests.support.pictures import png

THREADS = 8


def backends_of(lab: Lab, jobs: list[Job]) -> Counter[str | None]:
    return Counter(job.wait(40).backend for job in jobs)


def test_two_hundred_quick_jobs_all_succeed_with_their_own_pixels(lab: MakeLab) -> None:
    here = lab(2)

    def work(color: int) -> None:
        job = here.submit(tiny(color=color))
        last = list(job.events())[-1]
        assert last.type == "succeeded"
        assert color_of(job) == inverted(color)  # downloaded at once: finished means that the bytes are here
        events = [event for event in job.events() if event.number is not None]
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        assert [event.type for event in events] == ["queued", "dispatched", "running", "succeeded"]

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(0, 200 * 999, 999)))
    ran = [record for sandbox in here.sandboxes for record in sandbox.records]
    assert len(ran) == 200
    assert {record.outcome for record in ran} == {"success"}
    assert len({record.prompt_id for record in ran}) == 200
    assert min(len(list(sandbox.records)) for sandbox in here.sandboxes) > 20


def test_jobs_are_spread_and_a_slow_backend_gets_fewer(lab: MakeLab) -> None:
    here = lab(2)
    here.sandboxes[0].set(slow_requests={"/prompt": 0.4})
    jobs = [here.submit(tiny(color=color)) for color in range(24)]
    counts = backends_of(here, jobs)
    assert counts["s0"] + counts["s1"] == 24
    assert 0 < counts["s0"] < counts["s1"]


@pytest.mark.seed("S1-80")
def test_idle_backends_take_turns_and_a_job_that_names_one_gets_that(lab: MakeLab) -> None:
    here = lab(3)
    taken = [here.submit(tiny(color=color)).wait(40).backend for color in range(6)]
    assert taken[:3] == taken[3:]
    assert sorted(set(taken), key=str) == ["s0", "s1", "s2"]
    assert [here.submit(tiny(color=color), backend="s1").wait(40).backend for color in range(3)] == ["s1"] * 3


def test_jobs_go_to_idle_backends_and_not_behind_each_other(lab: MakeLab) -> None:
    here = lab(3)
    jobs = [here.submit(slow(steps=5, seconds=0.1, color=color)) for color in range(3)]
    assert backends_of(here, jobs) == {"s0": 1, "s1": 1, "s2": 1}


def test_a_backend_never_holds_more_than_it_runs_and_the_next_one(lab: MakeLab) -> None:
    here = lab(1)
    jobs = [here.submit(slow(steps=4, seconds=0.05, color=color)) for color in range(6)]
    deepest = 0
    while not jobs[-1].status().ended:
        deepest = max(deepest, here.api.get_backend("s0").data["running"])
    assert deepest == 2
    assert [job.status().state for job in jobs] == ["succeeded"] * 6
    started = [here.executions(job)[0].started for job in jobs]
    assert started == sorted(started, key=lambda at: at or 0.0), "first come, first served"


def test_higher_priority_goes_first_among_those_that_wait(lab: MakeLab) -> None:
    here = lab(1)
    holding = [here.submit(sleeping(0.6, color=color)) for color in range(2)]
    for job in holding:
        here.reaches(job, "dispatched", "running")
    low, high = here.submit(tiny(color=1), priority=1), here.submit(tiny(color=2), priority=9)
    assert (high.status().current, low.status().current) == (0, 1)
    for job in (low, high):
        assert job.wait(40).state == "succeeded"
    assert (here.executions(high)[0].started or 0) < (here.executions(low)[0].started or 0)


def test_a_job_that_wants_a_backend_waits_for_it_and_holds_up_nobody(lab: MakeLab) -> None:
    here = lab(2)
    here.api.set_backend_state("s1", "down").raise_for_code()
    bound = here.submit(tiny(color=1), backend="s1")
    others = [here.submit(tiny(color=color)) for color in range(2, 6)]
    assert backends_of(here, others) == {"s0": 4}
    assert bound.status().state == "queued"
    here.api.set_backend_state("s1", "up").raise_for_code()
    assert backends_of(here, [bound]) == {"s1": 1}


def test_a_backend_that_is_set_down_or_draining_finishes_what_it_has_and_gets_no_more(lab: MakeLab) -> None:
    for state in ("down", "draining"):
        here = lab(2)
        job = here.submit(slow(steps=10, seconds=0.05, color=1), backend="s0")
        here.reaches(job, "running")
        here.api.set_backend_state("s0", state).raise_for_code()
        others = [here.submit(tiny(color=color)) for color in range(2, 6)]
        assert backends_of(here, others) == {"s1": 4}
        assert job.wait(40).state == "succeeded"
        assert job.status().backend == "s0"
        here.assert_ran_once(job)


def test_jobs_of_a_backend_that_is_removed_go_to_another(lab: MakeLab) -> None:
    here = lab(2)
    gone, _ = here.sandboxes
    jobs = [here.submit(sleeping(1.0, color=color)) for color in range(2)]
    for job in jobs:
        here.reaches(job, "running")
    (moved,) = [job for job in jobs if job.status().backend == "s0"]
    here.api.delete_backend("s0").raise_for_code()
    status = moved.wait(40)
    assert (status.state, status.backend, status.attempts) == ("succeeded", "s1", 2)
    assert here.prompts(moved)[0][1] == "backend 's0' was removed"
    assert [record.outcome for record in gone.records] == ["interrupted"], "nothing goes on there"


def test_the_removal_of_a_backend_that_is_stuck_does_not_wait_for_it(lab: MakeLab) -> None:
    here = lab(2)
    job = here.submit(sleeping(1.0), backend="s0")
    other = here.submit(sleeping(1.0, color=1))
    here.reaches(job, "running")
    here.sandboxes[0].set(slow_requests={"/queue": 30.0})
    assert here.impatient.api.delete_backend("s0").ok
    assert other.wait(40).state == "succeeded"
    assert job.status().state == "queued", "it wants the backend that is gone"


def test_a_backend_that_comes_back_under_its_name_is_used_again(lab: MakeLab) -> None:
    here = lab(1)
    here.api.delete_backend("s0").raise_for_code()
    here.api.register_backend("s0", url=here.sandboxes[0].url).raise_for_code()
    assert color_of(here.submit(tiny(color=4))) == inverted(4)


def test_an_upload_is_placed_once_for_each_content_on_a_backend(lab: MakeLab) -> None:
    here = lab(1)
    colors = [(200, 100, 50), (1, 2, 3)]
    paths = [here.api.upload_file(png(color), name="in.png").raise_for_code().data["Path"] for color in colors]
    again = here.api.upload_file(png(colors[0]), name="renamed.png").raise_for_code().data["Path"]
    jobs = [here.submit(invert_upload(path, f"p{number}")) for number, path in enumerate([*paths, again] * 3)]
    for number, job in enumerate(jobs):
        red, green, blue = colors[number % 3 % 2]
        assert color_of(job) == (255 - red, 255 - green, 255 - blue)
    placed = [path for path in (here.sandboxes[0].files.root / "input").rglob("*") if path.is_file()]
    assert len(placed) == 2
    changed = {path: path.stat().st_mtime_ns for path in placed}
    assert here.submit(invert_upload(paths[0], "late")).wait(40).state == "succeeded"
    assert {path: path.stat().st_mtime_ns for path in placed} == changed, "it was sent a second time"


def test_a_backend_that_lost_its_inputs_in_a_restart_is_sent_them_again(lab: MakeLab) -> None:
    here = lab(1)
    (sandbox,) = here.sandboxes
    path = here.api.upload_file(png(), name="in.png").raise_for_code().data["Path"]
    assert here.submit(invert_upload(path)).wait(40).state == "succeeded"
    for file in (sandbox.files.root / "input").rglob("*.png"):
        file.unlink()
    sandbox.restart()
    eventually(here.live)
    assert color_of(here.submit(invert_upload(path))) == (55, 155, 205)


def test_node_classes_that_a_backend_has_only_since_it_was_away_are_known(lab: MakeLab) -> None:
    here = lab(1)
    (sandbox,) = here.sandboxes
    payload = WorkflowPayload(
        name="padded",
        inputs=WorkflowInputPayload(inputs=[]),
        outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id="1")]),
        workflow={"1": node("Padding00000")},
    )
    with pytest.raises(InvalidRequestError, match="'Padding00000', which no backend has"):
        here.api.create_workflow(payload)
    sandbox.set(object_info_padding=0.1)
    sandbox.stop_listening()
    eventually(lambda: not here.live())
    sandbox.listen()
    eventually(here.live)

    def is_taken() -> bool:
        try:
            return here.api.create_workflow(payload).ok
        except InvalidRequestError:
            return False

    eventually(is_taken)
