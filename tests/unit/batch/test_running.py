"""A whole batch in one call, and in a folder from which it is resumed whatever happened to it."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyone.batch.books import QueueTimeoutError
from comfyone.batch.folder import BatchFolder
from comfyone.batch.jobs import Job
from comfyone.batch.manifest import BatchBusyError, BatchChangedError, Manifest
from comfyone.batch.running import run
from comfyone.batch.sweep import Planned, sweep
from comfyone.emulator import Sandbox
from comfyone.errors import ValidationError
from tests.graphs import empty, failing, save, sleeping, speaking, tiny

from .conftest import Colour, runs, until

JOBS = sweep(tiny(), {"1.color": range(4)})


def pictures(folder: Path, pattern: str = "*.png") -> list[Path]:
    return sorted(folder.glob(pattern))


async def test_results_come_in_the_order_of_the_jobs(colour: Colour, sandbox: Sandbox) -> None:
    client = await colour.client(sandbox)
    plan = [Planned("slow", sleeping(0.2)), Planned("bad", failing()), *JOBS]
    done = await colour.run(client, plan, max_retries=0)
    assert [job.job_id for job in done] == [each.job_id for each in plan]
    assert [job.status.value for job in done] == ["completed", "failed"] + ["completed"] * 4
    assert all(job.files == () for job in done)


async def test_results_are_saved_under_the_names_of_their_jobs(
    colour: Colour, sandbox: Sandbox, tmp_path: Path
) -> None:
    client = await colour.client(sandbox)
    pair = {"1": empty(0xFF0000, 32, batch_size=2), "2": save("1")}
    done = await colour.run(client, [*JOBS, Planned("pair", pair), Planned("word", speaking("owl"))], tmp_path)
    assert [path.name for path in pictures(tmp_path)] == [
        *(f"color={index}.png" for index in range(4)),
        "pair_01.png",
        "pair_02.png",
    ]
    assert done[0].files == (tmp_path / "color=0.png",)
    assert Image.open(done[4].files[1]).getpixel((0, 0)) == (255, 0, 0)
    assert done[5].files == ()
    assert done[5].result["outputs"]["1"]["text"] == ["owl"]
    assert not pictures(tmp_path, ".*.part")


async def test_what_is_done_is_not_run_again(colour: Colour, sandbox: Sandbox, tmp_path: Path) -> None:
    client = await colour.client(sandbox)
    first = await colour.run(client, JOBS, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in pictures(tmp_path)}
    again = await colour.run(client, [*JOBS, Planned("new", tiny(96))], tmp_path)
    assert len(runs(sandbox)) == 5
    assert [job.status.value for job in again] == ["completed"] * 5
    assert [job.files for job in again[:4]] == [job.files for job in first]
    assert again[0].result["outputs"] == first[0].result["outputs"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


async def test_a_batch_goes_on_without_being_told_its_jobs(colour: Colour, sandbox: Sandbox, tmp_path: Path) -> None:
    client = await colour.client(sandbox)
    with pytest.raises(QueueTimeoutError):
        await colour.run(client, [Planned("long", sleeping(0.8)), *JOBS], tmp_path, timeout=0.2, max_concurrent=1)
    await until(lambda: not _is_busy(tmp_path), "the end of the first")
    done = await colour.run(client, None, tmp_path)
    assert [job.job_id for job in done] == ["long", *(each.job_id for each in JOBS)]
    assert {job.status.value for job in done} == {"completed"}
    assert len(runs(sandbox)) == 5
    with pytest.raises(ValidationError, match="nothing to run"):
        await colour.run(client)


def _is_busy(folder: Path) -> bool:
    try:
        Manifest(folder / "manifest.jsonl").close()
    except BatchBusyError:
        return True
    return False


async def test_a_prompt_that_went_on_while_nobody_watched_is_taken_over(
    colour: Colour, sandbox: Sandbox, tmp_path: Path
) -> None:
    client = await colour.client(sandbox)
    sent = await colour.call(client.queue_prompt, sleeping(0.3), prompt_id="11111111-1111-4111-8111-111111111111")
    with Manifest(tmp_path / "manifest.jsonl") as manifest:
        manifest.plan([Planned("mine", sleeping(0.3))])
        manifest.note("mine", "sent", prompt_id=sent["prompt_id"], server="http://localhost:1")
    (job,) = await colour.run(client, None, tmp_path)
    assert (job.status.value, job.prompt_id) == ("completed", sent["prompt_id"])
    assert len(runs(sandbox)) == 1
    assert job.files[0].exists()


async def test_a_prompt_that_was_written_down_but_never_arrived_is_sent(
    colour: Colour, sandbox: Sandbox, tmp_path: Path
) -> None:
    client = await colour.client(sandbox)
    with Manifest(tmp_path / "manifest.jsonl") as manifest:
        manifest.plan([Planned("mine", tiny())])
        manifest.note("mine", "sent", prompt_id="22222222-2222-4222-8222-222222222222", server=sandbox.url)
    (job,) = await colour.run(client, None, tmp_path)
    assert job.status.value == "completed"
    assert [record.prompt_id for record in runs(sandbox)] == [job.prompt_id]


async def test_a_prompt_is_looked_for_at_its_own_server(
    colour: Colour, sandboxes: Callable[..., Sandbox], tmp_path: Path
) -> None:
    other, own = sandboxes(), sandboxes()
    clients = [await colour.client(other), await colour.client(own)]
    sent = await colour.call(clients[1].queue_prompt, tiny())
    with Manifest(tmp_path / "manifest.jsonl") as manifest:
        manifest.plan([Planned("mine", tiny())])
        manifest.note("mine", "sent", prompt_id=sent["prompt_id"], server=own.url)
    (job,) = await colour.run(clients, None, tmp_path)
    assert job.prompt_id == sent["prompt_id"]
    assert (len(runs(other)), len(runs(own))) == (0, 1)


async def test_a_job_that_failed_is_tried_anew_the_next_time(colour: Colour, sandbox: Sandbox, tmp_path: Path) -> None:
    client = await colour.client(sandbox)
    sandbox.set(node_error={"ImageInvert": "for now"})
    (job,) = await colour.run(client, JOBS[:1], tmp_path, max_retries=0)
    assert job.status.value == "failed"
    sandbox.set(node_error={})
    (job,) = await colour.run(client, JOBS[:1], tmp_path)
    assert job.status.value == "completed"


async def test_results_that_could_not_be_written_are_fetched_the_next_time_and_not_made_again(
    colour: Colour, sandbox: Sandbox, tmp_path: Path
) -> None:
    client = await colour.client(sandbox)
    (tmp_path / "color=0.png").mkdir()
    (tmp_path / "color=0.png" / "in the way").touch()
    (job,) = await colour.run(client, JOBS[:1], tmp_path)
    assert job.status.value == "failed", job.files
    assert "color=0.png can't be written" in job.error
    (tmp_path / "color=0.png" / "in the way").unlink()
    (tmp_path / "color=0.png").rmdir()
    (job,) = await colour.run(client, JOBS[:1], tmp_path)
    assert job.status.value == "completed"
    assert len(runs(sandbox)) == 1


async def test_a_changed_workflow_and_a_second_process_are_refused(
    colour: Colour, sandbox: Sandbox, tmp_path: Path
) -> None:
    client = await colour.client(sandbox)
    await colour.run(client, JOBS, tmp_path)
    with pytest.raises(BatchChangedError, match=r"'color=0' .* 1\.inputs\.width was 64 and is 96"):
        await colour.run(client, [Planned("color=0", tiny(96, 0))], tmp_path)
    with Manifest(tmp_path / "manifest.jsonl"), pytest.raises(BatchBusyError):
        await colour.run(client, JOBS, tmp_path)
    assert len(runs(sandbox)) == 4


async def test_who_finishes_after_the_folder_was_closed_leaves_it_alone(
    colour: Colour, sandbox: Sandbox, tmp_path: Path, log: list[str]
) -> None:
    sandbox.set(hang=["ImageInvert"])
    with BatchFolder(tmp_path) as keeper:
        queue = await colour.queue(sandbox, max_concurrent=2, max_retries=0, keeper=keeper)
        queue.on("job_failed", keeper.failed)
        keeper.manifest.plan(JOBS[:2])
        first, second = queue.add_planned(JOBS[:2])
        queue.start()
        await until(lambda: len(runs(sandbox)) == 2 and runs(sandbox)[0].started, "both prompts")
    sandbox.set(hang=[])
    before = (tmp_path / "manifest.jsonl").read_bytes()
    await colour.call(queue._clients[0].interrupt_execution)
    await colour.finish(queue)
    assert sorted(str(record.outcome) for record in runs(sandbox)) == ["interrupted", "success"]
    assert sorted("the batch is closed" in job.error for job in (first, second)) == [False, True]
    assert (tmp_path / "manifest.jsonl").read_bytes() == before
    assert pictures(tmp_path) == pictures(tmp_path, ".*.part") == []
    assert not [line for line in log if "callback" in line]
    done = await colour.run(await colour.client(sandbox), None, tmp_path, max_retries=0)
    assert sorted(job.status.value for job in done) == ["completed", "failed"]
    assert [job.prompt_id for job in done] == [first.prompt_id, second.prompt_id]
    assert len(pictures(tmp_path)) == 1


async def test_what_is_being_written_when_a_task_is_cancelled_is_written_to_its_end(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    class Slow(BatchFolder):
        def sending(self, job: Job) -> None:
            entered.set()
            assert left.wait(30)
            super().sending(job)

    entered, left, colour = threading.Event(), threading.Event(), Colour("async")
    async with colour.opened:
        with Slow(tmp_path) as keeper:
            queue = await colour.queue(sandbox, keeper=keeper)
            keeper.manifest.plan(JOBS[:1])
            queue.add_planned(JOBS[:1])
            with pytest.raises(QueueTimeoutError):
                await _waited_in_vain(queue, entered, left)
            assert keeper.manifest.notes["color=0"].state == "sent"
    assert runs(sandbox) == []


async def _waited_in_vain(queue: Any, entered: threading.Event, left: threading.Event) -> None:
    async with queue:
        await until(entered.is_set, "the writing")
        try:
            await queue.wait_for_completion(0.01)
        finally:  # the task that writes is cancelled before the loop comes to this
            asyncio.get_running_loop().call_soon(left.set)


def begun(line: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _has_done_something(child: subprocess.Popen[bytes], servers: list[Sandbox], known: int) -> Callable[[], bool]:
    return lambda: child.poll() is not None or sum(len(runs(each)) for each in servers) >= known + 2


@pytest.mark.timeout(110)
@pytest.mark.parametrize("servers", [1, 2])
async def test_a_batch_that_is_killed_again_and_again_runs_each_job_exactly_once(
    sandboxes: Callable[..., Sandbox], tmp_path: Path, servers: int
) -> None:
    count, chance = 24, random.Random(servers)
    # So slow that a machine with much else to do still gets to kill it three times before all is done.
    started = [sandboxes(step_time=0.05 * servers, slow_requests={"/prompt": 0.01}) for _ in range(servers)]
    line = [sys.executable, "-m", "tests.unit.batch.killed", str(tmp_path), str(count), *(each.url for each in started)]
    kills = 0
    while kills < 5:
        known, child = sum(len(runs(each)) for each in started), begun(line)
        await until(_has_done_something(child, started, known))
        await asyncio.sleep(chance.uniform(0, 0.12))
        done_before = child.poll() is not None
        child.kill()
        await asyncio.to_thread(child.communicate)
        if done_before:
            break
        kills += 1
    done = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{count}\n", done.stderr
    assert kills >= 3
    records = [record for each in started for record in runs(each)]
    assert Counter(record.prompt_id for record in records).most_common(1)[0][1] == 1
    assert len(records) == count
    assert {record.outcome for record in records} == {"success"}
    assert len(pictures(tmp_path)) == count
    for picture in pictures(tmp_path):
        with Image.open(picture) as opened:
            opened.load()


@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")
async def test_a_batch_that_is_interrupted_ends_at_once_and_can_be_picked_up(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.set(step_time=0.2)
    line = [sys.executable, "-m", "tests.unit.batch.killed", str(tmp_path), "4", sandbox.url]
    child = begun(line)
    await until(_has_done_something(child, [sandbox], 0))
    begin = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, told = await asyncio.to_thread(child.communicate)
    assert time.monotonic() - begin < 5
    assert told.decode().rstrip().endswith("KeyboardInterrupt")
    sandbox.set(step_time=0)
    done = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, timeout=60)
    assert done.stdout == "4\n", done.stderr
    assert len(runs(sandbox)) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")
async def test_a_program_that_forgets_to_stop_its_queue_ends_all_the_same(sandbox: Sandbox) -> None:
    program = (
        "from comfyone.batch.queue import QueueManager\n"
        "from comfyone.comfyui.client import ComfyUIClient\n"
        "from tests.graphs import sleeping\n"
        "import time\n"
        f"queue = QueueManager(ComfyUIClient(url={sandbox.url!r}))\n"
        "queue.add_job('long', sleeping(600))\n"
        "queue.start()\n"
        "while queue.get_job_status('long') != 'running': time.sleep(0.01)\n"
    )
    line = [sys.executable, "-c", program]
    done = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_needs_no_terminal(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    from comfyone.comfyui.client import ComfyUIClient

    with ComfyUIClient(url=sandbox.url) as client:
        done: Any = run(client, JOBS)
    assert len(done) == 4
    assert capsys.readouterr() == ("", "")
