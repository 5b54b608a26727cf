"""The queue over real clients and sandboxes: every promise of its contract, in both colours."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from comfyone.batch.books import QueueStoppedError, QueueTimeoutError
from comfyone.batch.jobs import Job, JobStatus
from comfyone.emulator import Sandbox
from comfyone.errors import ComfyExecutionError, PromptRejectedError, ServerUnreachableError, ValidationError
from comfyone.utils.outputs import extract_output_images
from tests.graphs import Graph, empty, failing, node, sleeping, slow, text_to_image, tiny

from .conftest import PATIENCE, Colour, runs, until

HELD = 0.3
"""With this step time, the graph below takes a minute; with ``step_time=0`` it ends at once, even if it has begun."""


def long(seed: int = 0) -> Graph:
    return text_to_image("an owl", seed, steps=200, width=64, height=64)


@pytest.mark.seed("S2-4", "S2-5", "S2-42", "S2-57", "S2-66", "S2-70")
async def test_jobs_that_are_added_run_and_give_their_history_entry(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    job = queue.add_job("owl", tiny(), {"who": "me"})
    assert isinstance(queue.get_job("owl"), Job)
    assert (job.status, job.prompt_id, job.result) == (JobStatus.PENDING, None, None)
    await colour.finish(queue)
    assert job.status is JobStatus.COMPLETED
    assert job.result["status"]["status_str"] == "success"
    assert job.metadata == {"who": "me"}
    assert job.created_at <= job.started_at <= job.completed_at
    assert [record.prompt_id for record in runs(sandbox)] == [job.prompt_id]


@pytest.mark.seed("S2-59")
async def test_the_seeds_own_batch_example_runs_ten_different_seeds(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox, max_concurrent=2)
    base_workflow = text_to_image("an owl", width=64)
    for i in range(10):
        workflow = base_workflow.copy()
        workflow["3"]["inputs"]["seed"] = i * 1000
        queue.add_job(f"job_{i}", workflow)
    await colour.finish(queue)
    jobs = queue.get_all_jobs()
    assert [job.status for job in jobs] == [JobStatus.COMPLETED] * 10
    assert {job.result["prompt"][2]["3"]["inputs"]["seed"] for job in jobs} == {i * 1000 for i in range(10)}


@pytest.mark.seed("S2-82")
async def test_pictures_of_a_job_are_fetched_as_the_seed_does_it(colour: Colour, sandbox: Sandbox) -> None:
    queue, client = await colour.queue(sandbox), await colour.client(sandbox)
    job = queue.add_job("owl", tiny())
    await colour.finish(queue)
    images = extract_output_images(job.result)
    assert len(images) == 1
    for img in images:
        data = await colour.call(client.get_image, img["filename"], subfolder=img["subfolder"], folder_type=img["type"])
        assert data.startswith(b"\x89PNG")


@pytest.mark.seed("S2-4", "S2-57")
async def test_so_many_jobs_are_at_the_server_at_once_as_was_said(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox, max_concurrent=2)
    for index in range(6):
        queue.add_job(f"job {index}", sleeping(0.1, color=index))
    queue.start()
    most = 0
    while queue.get_jobs_by_status("pending") or queue.get_jobs_by_status("running"):
        most = max(most, len(queue.get_jobs_by_status(JobStatus.RUNNING)))
        await asyncio.sleep(0.01)
    assert most == 2


@pytest.mark.seed("S2-66")
async def test_the_number_of_workers_can_be_chosen_at_the_start(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox, max_concurrent=1)
    for index in range(5):
        queue.add_job(f"job {index}", sleeping(0.2, color=index))
    queue.start(num_workers=4)
    await until(lambda: len(queue.get_jobs_by_status("running")) == 4, "four at once")


@pytest.mark.seed("S2-66")
async def test_starting_twice_only_warns(colour: Colour, sandbox: Sandbox, log: list[str]) -> None:
    queue = await colour.queue(sandbox)
    queue.start()
    queue.start()
    assert any("the queue runs already" in line for line in log)
    assert queue.is_running


@pytest.mark.seed("S2-61", "S2-62", "S2-63", "S2-64", "S2-79")
async def test_jobs_are_found_by_name_and_by_how_they_stand(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    good, bad = queue.add_job("good", tiny()), queue.add_job("bad", {"1": node("NoSuchNode")})
    assert queue.get_job("good") is good
    assert queue.get_job_status("good") == "pending"
    assert queue.get_job("nobody") is None
    assert queue.get_job_status("nobody") is None
    await colour.finish(queue)
    assert queue.get_job_status("good") is JobStatus.COMPLETED
    assert queue.get_all_jobs() == [good, bad]
    assert queue.get_jobs_by_status(JobStatus.FAILED) == [bad]
    assert queue.get_jobs_by_status("completed") == [good]
    assert [status.value for status in JobStatus] == ["pending", "running", "completed", "failed", "cancelled"]


@pytest.mark.seed("S2-71")
async def test_statistics_have_the_promised_keys_and_count_the_jobs(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox, max_retries=0)
    for name, graph in {"a": tiny(), "b": failing(), "c": sleeping(30), "d": tiny(), "e": tiny(32)}.items():
        queue.add_job(name, graph)
    await colour.call(queue.cancel_job, "d")
    assert queue.get_statistics() == {
        "total_jobs": 5,
        "pending": 4,
        "running": 0,
        "completed": 0,
        "failed": 0,
        "cancelled": 1,
        "queue_size": 4,
        "is_running": False,
        "is_paused": False,
    }
    queue.start(1)
    await until(lambda: queue.get_job_status("c") == "running", "the sleeper")
    queue.pause()
    assert queue.get_statistics() == {
        "total_jobs": 5,
        "pending": 1,
        "running": 1,
        "completed": 1,
        "failed": 1,
        "cancelled": 1,
        "queue_size": 1,
        "is_running": True,
        "is_paused": True,
    }
    await colour.call(queue.cancel_job, "c")


@pytest.mark.seed("S2-60")
async def test_a_list_of_workflows_added_twice_at_once_runs_twice(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    names = [job.job_id for _ in "ab" for job in queue.add_jobs_from_list([tiny(32), tiny(48)], job_prefix="owl")]
    assert len(set(names)) == 4
    assert all(name.startswith(("owl_0000_", "owl_0001_")) for name in names)
    await colour.finish(queue)
    assert queue.get_statistics()["completed"] == 4


async def test_a_grid_of_parameters_becomes_jobs(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    jobs = queue.map(tiny(), {"1.width": [32, 48], "1.color": [1, 2]})
    assert [job.job_id for job in jobs][:2] == ["width=32_color=1", "width=32_color=2"]
    with pytest.raises(ValidationError, match="width=32_color=1"):
        queue.map(tiny(), {"1.width": [99, 32], "1.color": [1]})
    assert len(queue.get_all_jobs()) == 4
    await colour.finish(queue)
    assert queue.get_statistics()["completed"] == 4


# --- failures


@pytest.mark.seed("S2-80")
async def test_a_history_entry_that_tells_of_an_error_is_a_failure_after_every_retry(
    colour: Colour, sandbox: Sandbox
) -> None:
    queue = await colour.queue(sandbox, max_retries=2)
    job = queue.add_job("bad", failing("out of luck"))
    await colour.finish(queue)
    assert (job.status, job.retry_count, job.result) == (JobStatus.FAILED, 2, None)
    assert "out of luck" in job.error
    assert isinstance(job.exception, ComfyExecutionError)
    assert job.exception.node_id == "2"
    assert [record.outcome for record in runs(sandbox)] == ["error"] * 3


@pytest.mark.seed("S2-9", "S2-80")
async def test_a_job_that_fails_once_is_completed_by_its_retry(colour: Colour, sandbox: Sandbox) -> None:
    sandbox.set(node_error={"ImageInvert": "for now"})
    queue = await colour.queue(sandbox, max_retries=999)
    job = queue.add_job("moody", tiny())
    queue.on("job_started", lambda job: sandbox.set(node_error={}) if job.retry_count else None)
    await colour.finish(queue)
    assert (job.status, job.error) == (JobStatus.COMPLETED, None)
    assert job.retry_count >= 1  # with the next worker at it at once, it may have failed again before this was told


@pytest.mark.seed("S2-21", "S2-80")
async def test_a_workflow_that_the_server_refuses_is_not_sent_again(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    job = queue.add_job("bad", {"1": node("NoSuchNode"), "2": node("SaveImage", images=["1", 0], filename_prefix="x")})
    await colour.finish(queue)
    assert (job.status, job.retry_count) == (JobStatus.FAILED, 0)
    assert isinstance(job.exception, PromptRejectedError)
    assert "NoSuchNode" in job.error
    assert runs(sandbox) == []


@pytest.mark.seed("S2-57", "S2-80")
async def test_without_retries_a_failure_is_final(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox, retry_on_failure=False)
    job = queue.add_job("bad", failing())
    await colour.finish(queue)
    assert (job.status, job.retry_count) == (JobStatus.FAILED, 0)


@pytest.mark.seed("S2-80")
async def test_a_server_that_is_away_for_a_moment_fails_no_job(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox, max_retries=9)
    sandbox.stop_listening()
    job = queue.add_job("patient", tiny())
    queue.start()
    await until(lambda: job.retry_count >= 2, "a second retry")
    await asyncio.to_thread(sandbox.listen)
    await colour.finish(queue)
    assert job.status is JobStatus.COMPLETED
    assert len(runs(sandbox)) == 1


@pytest.mark.seed("S2-80")
async def test_a_server_that_stays_away_fails_a_job_when_its_retries_are_used_up(
    colour: Colour, sandbox: Sandbox
) -> None:
    queue = await colour.queue(sandbox, max_retries=2)
    sandbox.stop_listening()
    job = queue.add_job("hopeless", tiny())
    await colour.finish(queue)
    assert (job.status, job.retry_count) == (JobStatus.FAILED, 2)
    assert isinstance(job.exception, ServerUnreachableError)


async def test_a_prompt_whose_answer_was_lost_runs_once(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    sandbox.set(lose_answers=1)
    job = queue.add_job("once", tiny())
    await colour.finish(queue)
    assert job.status is JobStatus.COMPLETED
    assert [record.prompt_id for record in runs(sandbox)] == [job.prompt_id]


async def test_a_prompt_whose_answer_was_lost_with_its_server_is_looked_for_when_that_is_back(
    colour: Colour, sandbox: Sandbox
) -> None:
    queue = await colour.queue(sandbox, max_retries=99)
    sandbox.set(lose_answers=1, step_time=HELD)
    job = queue.add_job("once", long())
    queue.start()
    await until(lambda: runs(sandbox), "its arrival")
    await asyncio.to_thread(sandbox.stop_listening)
    await until(lambda: job.retry_count >= 2, "a second retry")
    sandbox.set(step_time=0)
    await asyncio.to_thread(sandbox.listen)
    await colour.finish(queue)
    assert job.status is JobStatus.COMPLETED
    assert [record.prompt_id for record in runs(sandbox)] == [job.prompt_id]


async def test_a_server_that_restarts_and_forgets_gets_the_job_again(colour: Colour, sandbox: Sandbox) -> None:
    sandbox.set(step_time=HELD)
    queue = await colour.queue(sandbox)
    job = queue.add_job("long", long())
    queue.start()
    await until(lambda: runs(sandbox) and runs(sandbox)[0].started, "its start")
    await asyncio.to_thread(sandbox.restart, 0.1)
    sandbox.set(step_time=0)
    await colour.finish(queue)
    assert job.status is JobStatus.COMPLETED
    assert [record.outcome for record in runs(sandbox)] == ["lost", "success"]


# --- several servers


async def test_jobs_are_spread_over_all_servers(colour: Colour, sandboxes: Callable[..., Sandbox]) -> None:
    servers = [sandboxes() for _ in range(3)]
    queue = await colour.queue(*servers, max_concurrent=2)
    for index in range(18):
        queue.add_job(f"job {index}", sleeping(0.5, color=index))
    await colour.finish(queue)
    assert queue.get_statistics()["completed"] == 18
    assert {len(runs(server)) for server in servers} <= {5, 6, 7}
    by_name = {job.server for job in queue.get_all_jobs()}
    assert by_name == {server.url for server in servers}


async def test_a_busy_server_gets_less(colour: Colour, sandboxes: Callable[..., Sandbox]) -> None:
    quick, tired = sandboxes(), sandboxes(step_time=HELD)
    queue = await colour.queue(quick, tired, max_concurrent=1)
    for index in range(12):
        queue.add_job(f"job {index}", long(index))
    queue.start()
    await until(lambda: len(queue.get_jobs_by_status("completed")) == 11, "the work of the quick one")
    tired.set(step_time=0)
    await colour.finish(queue)
    assert len(runs(quick)) > 2 * len(runs(tired)) > 0


async def test_jobs_of_a_server_that_is_down_go_elsewhere_without_a_retry(
    colour: Colour, sandboxes: Callable[..., Sandbox]
) -> None:
    up, down = sandboxes(), sandboxes()
    queue = await colour.queue(down, up, max_retries=0)
    down.stop_listening()
    for index in range(6):
        queue.add_job(f"job {index}", tiny(32, index))
    await colour.finish(queue)
    assert [job.status for job in queue.get_all_jobs()] == [JobStatus.COMPLETED] * 6
    assert {job.retry_count for job in queue.get_all_jobs()} == {0}
    assert (len(runs(up)), len(runs(down))) == (6, 0)


async def test_a_server_that_dies_with_a_job_loses_it_to_another(
    colour: Colour, sandboxes: Callable[..., Sandbox]
) -> None:
    dying, other = sandboxes(step_time=HELD), sandboxes()
    queue = await colour.queue(dying, other, max_concurrent=1, max_retries=0)
    queue.add_job("first", long(1))
    queue.add_job("second", long(2))
    queue.start()
    await until(lambda: runs(dying) and runs(dying)[0].started, "its start")
    dying.stop_listening()
    await colour.finish(queue)
    assert queue.get_statistics()["completed"] == 2
    assert {job.server for job in queue.get_all_jobs()} == {other.url}


async def test_a_server_that_comes_back_gets_jobs_again(colour: Colour, sandboxes: Callable[..., Sandbox]) -> None:
    back, other = sandboxes(), sandboxes()
    queue = await colour.queue(back, other, max_concurrent=1)
    back.stop_listening()
    for index in range(30):
        queue.add_job(f"job {index}", sleeping(0.08, index))
    queue.start()
    await until(lambda: len(runs(other)) > 2, "a beginning")
    await asyncio.to_thread(back.listen)
    await colour.finish(queue)
    assert queue.get_statistics()["completed"] == 30
    assert len(runs(back)) > 3


# --- cancelling


@pytest.mark.seed("S2-65", "S2-77")
async def test_a_waiting_job_that_is_cancelled_is_never_sent(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    told: list[str] = []
    queue.on("job_cancelled", lambda job: told.append(job.job_id))
    job, other = queue.add_job("no", tiny(32)), queue.add_job("yes", tiny(48))
    assert await colour.call(queue.cancel_job, "no") is True
    await colour.finish(queue)
    assert job.status is JobStatus.CANCELLED
    assert other.status is JobStatus.COMPLETED
    assert told == ["no"]
    assert len(runs(sandbox)) == 1


@pytest.mark.seed("S2-65")
async def test_cancelling_a_running_job_stops_its_prompt_and_no_other(colour: Colour, sandbox: Sandbox) -> None:
    mine, theirs = await colour.queue(sandbox, max_concurrent=2), await colour.client(sandbox)
    running = mine.add_job("running", sleeping(30))
    mine.start()
    await until(lambda: runs(sandbox) and runs(sandbox)[0].started, "its start")
    waiting = mine.add_job("waiting", sleeping(0.05, 7))
    await until(lambda: len(runs(sandbox)) == 2, "both prompts")
    foreign = await colour.call(theirs.queue_prompt, tiny())
    assert await colour.call(mine.cancel_job, "running") is True
    await colour.finish(mine)
    assert (running.status, waiting.status) == (JobStatus.CANCELLED, JobStatus.COMPLETED)
    outcomes = {record.prompt_id: record for record in runs(sandbox)}
    assert outcomes[running.prompt_id].outcome == "interrupted"
    await until(lambda: outcomes[foreign["prompt_id"]].outcome == "success", "the other's prompt")


@pytest.mark.seed("S2-65")
async def test_cancelling_a_job_that_waits_at_the_server_lets_the_one_that_runs_go_on(
    colour: Colour, sandbox: Sandbox
) -> None:
    sandbox.set(step_time=HELD)
    queue = await colour.queue(sandbox, max_concurrent=2)
    first, second = queue.add_job("first", long(1)), queue.add_job("second", long(2))
    queue.start()
    await until(lambda: len(runs(sandbox)) == 2, "both prompts")
    later = queue.get_job_status("second") and runs(sandbox)[1].prompt_id
    name = "second" if second.prompt_id == later else "first"
    assert await colour.call(queue.cancel_job, name) is True
    sandbox.set(step_time=0)
    await colour.finish(queue)
    assert sorted(job.status.value for job in (first, second)) == ["cancelled", "completed"]
    assert sorted(str(record.outcome) for record in runs(sandbox)) == ["deleted", "success"]


@pytest.mark.seed("S2-65")
async def test_what_has_ended_or_is_unknown_cannot_be_cancelled(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    job = queue.add_job("done", tiny())
    await colour.finish(queue)
    assert await colour.call(queue.cancel_job, "done") is False
    assert await colour.call(queue.cancel_job, "nobody") is False
    assert job.status is JobStatus.COMPLETED


@pytest.mark.seed("S2-65")
async def test_a_job_cancelled_while_it_is_being_sent_is_stopped_at_the_server(
    colour: Colour, sandbox: Sandbox
) -> None:
    sandbox.set(slow_requests={"/prompt": 0.4})
    queue = await colour.queue(sandbox, max_concurrent=1)
    job = queue.add_job("late", sleeping(30))
    queue.start()
    await until(lambda: queue.get_job_status("late") == "running", "it")
    await until(lambda: queue._prompts, "its sending")
    assert await colour.call(queue.cancel_job, "late") is True
    await until(lambda: [record.outcome for record in runs(sandbox)] in (["interrupted"], ["deleted"]), "its stop")
    assert job.status is JobStatus.CANCELLED
    queue.add_job("next", tiny())
    sandbox.set(slow_requests={})
    await colour.finish(queue)
    assert queue.get_job_status("next") == "completed"


async def test_a_prompt_that_somebody_else_stops_is_a_failure_and_is_not_tried_again(
    colour: Colour, sandbox: Sandbox
) -> None:
    queue, client = await colour.queue(sandbox), await colour.client(sandbox)
    job = queue.add_job("stopped", sleeping(30))
    queue.start()
    await until(lambda: runs(sandbox) and runs(sandbox)[0].started, "its start")
    await colour.call(client.interrupt_execution)
    await colour.finish(queue)
    assert (job.status, job.retry_count) == (JobStatus.FAILED, 0)


async def test_a_prompt_cancelled_by_the_queues_own_client_is_a_failure_and_ends_no_worker(
    colour: Colour, sandbox: Sandbox
) -> None:
    queue = await colour.queue(sandbox, max_concurrent=1)
    job = queue.add_job("stopped", sleeping(30))
    queue.start()
    await until(lambda: runs(sandbox) and runs(sandbox)[0].started, "its start")
    await colour.call(queue._clients[0].cancel_prompt, job.prompt_id)
    queue.add_job("next", tiny())
    await colour.finish(queue)
    assert job.status is JobStatus.FAILED
    assert "cancelled by somebody else" in job.error or "interrupted" in job.error
    assert queue.get_job_status("next") == "completed"


# --- pausing, stopping, waiting


@pytest.mark.seed("S2-68", "S2-69")
async def test_a_pause_lets_what_runs_end_and_begins_nothing(colour: Colour, sandbox: Sandbox) -> None:
    sandbox.set(step_time=HELD)
    queue = await colour.queue(sandbox, max_concurrent=1)
    first, second = queue.add_job("1", long()), queue.add_job("2", tiny())
    queue.start()
    await until(lambda: runs(sandbox), "the first")
    queue.pause()
    sandbox.set(step_time=0)
    await until(lambda: first.status is JobStatus.COMPLETED, "its end")
    await asyncio.sleep(0.2)
    assert queue.get_job_status("2") == "pending"
    assert queue.is_paused
    queue.resume()
    await colour.finish(queue)
    assert second.status is JobStatus.COMPLETED


@pytest.mark.seed("S2-67")
async def test_stopping_waits_for_what_runs_and_leaves_the_rest_for_the_next_start(
    colour: Colour, sandbox: Sandbox
) -> None:
    sandbox.set(step_time=HELD)
    queue = await colour.queue(sandbox, max_concurrent=1)
    first, second = queue.add_job("1", long()), queue.add_job("2", tiny())
    queue.start()
    await until(lambda: runs(sandbox), "the first")
    stopping = asyncio.ensure_future(colour.call(queue.stop))
    await until(lambda: not queue.is_running, "its being told")
    sandbox.set(step_time=0)
    await stopping
    assert (first.status, second.status) == (JobStatus.COMPLETED, JobStatus.PENDING)
    assert not queue.is_running
    await colour.call(queue.stop)
    await colour.finish(queue)
    assert second.status is JobStatus.COMPLETED


@pytest.mark.seed("S2-67")
async def test_stopping_without_waiting_returns_at_once_and_the_job_ends_all_the_same(
    colour: Colour, sandbox: Sandbox
) -> None:
    sandbox.set(step_time=HELD)
    queues = [await colour.queue(sandbox, max_concurrent=1) for _ in range(3)]
    taken: list[float] = []
    for number, queue in enumerate(queues):
        queue.add_job("1", long(number))
        queue.start()
        await until(lambda: len(runs(sandbox)) > len(taken), "its prompt")
        begin = time.monotonic()
        await colour.call(queue.stop, wait=False)
        taken.append(time.monotonic() - begin)
        assert queue.get_job_status("1") == "running"
    assert min(taken) < 0.3  # the machine may pause once or twice
    sandbox.set(step_time=0)
    for queue in queues:
        await colour.call(queue.wait_for_completion)
        assert queue.get_job_status("1") is JobStatus.COMPLETED


@pytest.mark.seed("S2-70")
async def test_waiting_too_long_is_a_timeout_error_that_names_what_is_left(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox, max_concurrent=1)
    for index in range(5):
        queue.add_job(f"job {index}", sleeping(30, index))
    queue.start()
    with pytest.raises(TimeoutError, match=r"after 0\.3 s .*'job 0' \(running\), 'job 1' .* and 2 more") as caught:
        await colour.call(queue.wait_for_completion, 0.3)
    assert isinstance(caught.value, QueueTimeoutError)
    assert len(caught.value.context["job_ids"]) == 5
    for job in queue.get_all_jobs():
        await colour.call(queue.cancel_job, job.job_id)


@pytest.mark.seed("S2-70")
async def test_waiting_for_jobs_that_nobody_takes_is_told_and_not_for_ever(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    queue.add_job("1", tiny())
    with pytest.raises(QueueStoppedError, match=r"1 jobs wait, .* \(call start\(\)\)"):
        await colour.call(queue.wait_for_completion)
    with pytest.raises(TimeoutError):
        await colour.call(queue.wait_for_completion, 0.05)


@pytest.mark.seed("S2-73")
async def test_ended_jobs_are_forgotten_on_request(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox, max_retries=0)
    for name, graph in {"good": tiny(), "bad": failing(), "gone": tiny(32)}.items():
        queue.add_job(name, graph)
    await colour.call(queue.cancel_job, "gone")
    await colour.finish(queue)
    queue.pause()
    queue.add_job("waits", tiny())
    assert queue.clear_completed() == 3
    assert [job.job_id for job in queue.get_all_jobs()] == ["waits"]
    assert queue.clear_completed() == 0
    queue.add_job("good", tiny())


# --- events


@pytest.mark.seed("S2-72", "S2-74", "S2-75", "S2-76", "S2-78")
async def test_events_come_in_order_with_the_job_and_the_last_with_nothing(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox, max_retries=1, max_concurrent=1)
    told: list[Any] = []
    for event in ("job_started", "job_completed", "job_failed", "job_cancelled", "queue_empty"):
        queue.on(event, lambda job, event=event: told.append((event, job and job.job_id, job and job.error)))
    queue.add_job("good", tiny())
    queue.add_job("bad", failing("alas"))
    await colour.finish(queue)
    assert [(event, name) for event, name, _ in told] == [
        ("job_started", "good"),
        ("job_completed", "good"),
        ("job_started", "bad"),
        ("job_started", "bad"),
        ("job_failed", "bad"),
        ("queue_empty", None),
    ]
    assert "alas" in told[-2][2]
    await colour.call(queue.wait_for_completion, 1)
    assert len(told) == 6


@pytest.mark.seed("S2-72")
async def test_a_callback_that_raises_is_logged_and_hurts_nobody(
    colour: Colour, sandbox: Sandbox, log: list[str]
) -> None:
    queue = await colour.queue(sandbox, max_concurrent=1)
    told: list[str] = []

    def clumsy(job: Job) -> None:
        raise RuntimeError(f"dropped {job.job_id}")

    for event in ("job_started", "job_completed"):
        queue.on(event, clumsy)
        queue.on(event, lambda job: told.append(job.job_id))
    for name in "ab":
        queue.add_job(name, tiny())
    await colour.finish(queue)
    assert queue.get_statistics()["completed"] == 2
    assert told == ["a", "a", "b", "b"]
    assert any("clumsy for job_completed raised RuntimeError('dropped b')" in line for line in log)


@pytest.mark.seed("S2-72")
async def test_an_event_that_does_not_exist_only_warns(colour: Colour, sandbox: Sandbox, log: list[str]) -> None:
    queue = await colour.queue(sandbox)
    queue.on("job_exploded", print)
    assert any("'job_exploded'" in line and "queue_empty" in line for line in log)


async def test_a_callback_that_is_interrupted_silences_no_other(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    told: list[str] = []

    def interrupted(job: Job) -> None:
        told.append(job.job_id)
        if job.job_id == "a":
            raise Interrupt

    queue.on("job_cancelled", interrupted)
    for name in "ab":
        queue.add_job(name, tiny())
    with pytest.raises(Interrupt):
        await colour.call(queue.cancel_job, "a")
    assert await colour.call(queue.cancel_job, "b")
    await colour.call(queue.wait_for_completion, PATIENCE)
    assert told == ["a", "b"]


class Interrupt(BaseException):
    """As KeyboardInterrupt, which no event loop lets through unharmed."""


async def test_a_callback_may_use_the_queue(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox, max_concurrent=1)
    last = "e"

    def chain(job: Job) -> None:
        if job.job_id < last:
            queue.add_job(chr(ord(job.job_id) + 1), tiny())

    queue.on("job_completed", chain)
    queue.add_job("a", tiny())
    queue.start()
    await until(lambda: queue.get_job_status(last) == "completed", "the last")


async def test_progress_is_told_while_a_job_runs(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    queue.add_job("steps", slow(steps=40, seconds=0.02))
    assert queue.get_progress("steps") is None
    queue.start()
    seen: set[float] = set()
    while queue.get_job_status("steps") != "completed":
        seen.add(queue.get_progress("steps") or 0.0)
        await asyncio.sleep(0.01)
    assert len(seen) > 5
    assert all(0 <= percent <= 100 for percent in seen)


# --- construction


@pytest.mark.seed("S2-57")
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_concurrent": 0}, "max_concurrent is a whole number from 1, not 0"),
        ({"max_concurrent": True}, "max_concurrent"),
        ({"max_retries": -1}, "max_retries is a whole number from 0, not -1"),
        ({"max_retries": 1.5}, "max_retries"),
    ],
)
async def test_a_setting_that_makes_no_sense_is_refused(
    colour: Colour, sandbox: Sandbox, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        await colour.queue(sandbox, **settings)


async def test_what_a_caller_does_to_its_workflow_later_changes_no_job(colour: Colour, sandbox: Sandbox) -> None:
    queue = await colour.queue(sandbox)
    graph = tiny()
    before = copy.deepcopy(graph)
    job = queue.add_job("1", graph)
    graph["1"] = empty(0, 512)
    await colour.finish(queue)
    assert job.workflow == before == job.result["prompt"][2]


async def test_many_threads_may_use_one_queue(sandbox: Sandbox) -> None:
    colour = Colour("blocking")
    async with colour.opened:
        queue = await colour.queue(sandbox, max_concurrent=4)
        queue.start()

        def add(name: str) -> None:
            for index in range(10):
                queue.add_job(f"{name} {index}", tiny(32, index))
                queue.get_statistics()
            queue.cancel_job(f"{name} 9")

        threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
        await colour.finish(queue)
        numbers = queue.get_statistics()
        assert numbers["completed"] + numbers["cancelled"] == 40
