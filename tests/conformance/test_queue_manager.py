"""Queues and batches on the server under test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from comfyone.batch import AsyncQueueManager, JobStatus, QueueManager, run
from comfyone.batch.sweep import Planned, sweep
from comfyone.comfyui import AsyncComfyUIClient, ComfyUIClient
from tests.conformance.client import ComfyUI
from tests.graphs import failing, node, sleeping, slow, tiny
from tests.support.waiting import eventually

PATIENCE = 60.0


@pytest.fixture
def client(comfyui: ComfyUI) -> Iterator[ComfyUIClient]:
    with ComfyUIClient(url=comfyui.url) as opened:
        yield opened


@pytest.mark.seed("S2-59")
def test_ten_jobs_from_one_changed_workflow_run_ten_different_values(client: ComfyUIClient) -> None:
    queue, base = QueueManager(client), tiny(32)
    for number in range(10):
        workflow = base.copy()
        workflow["1"]["inputs"]["color"] = number * 1000
        queue.add_job(f"job_{number}", workflow)
    with queue:
        queue.wait_for_completion(PATIENCE)
    results = [job.result or {} for job in queue.get_all_jobs()]
    assert [result["prompt"][2]["1"]["inputs"]["color"] for result in results] == [n * 1000 for n in range(10)]


def test_failures_are_told_by_kind(client: ComfyUIClient) -> None:
    queue = QueueManager(client, max_retries=1)
    failed, refused = queue.add_job("failed", failing("alas")), queue.add_job("refused", {"1": node("NoSuchNode")})
    with queue:
        queue.wait_for_completion(PATIENCE)
    assert (failed.status, failed.retry_count) == (JobStatus.FAILED, 1)
    assert "alas" in str(failed.error)
    assert (refused.status, refused.retry_count) == (JobStatus.FAILED, 0)


@pytest.mark.seed("S2-65")
def test_cancelling_one_of_two_lets_the_other_end(client: ComfyUIClient, comfyui: ComfyUI) -> None:
    queue = QueueManager(client, max_concurrent=2)
    first = queue.add_job("first", sleeping(30, 11))
    with queue:
        eventually(lambda: queue.get_progress("first"), PATIENCE)  # what is listed as running may not have begun
        second = queue.add_job("second", sleeping(0.2, 12))
        assert queue.cancel_job("first")
        queue.wait_for_completion(PATIENCE)
    assert (first.status, second.status) == (JobStatus.CANCELLED, JobStatus.COMPLETED)
    assert first.prompt_id is not None
    assert comfyui.entry(first.prompt_id)["status"]["status_str"] == "error"


async def test_the_asynchronous_queue_tells_progress_and_ends(comfyui: ComfyUI) -> None:
    async with AsyncComfyUIClient(url=comfyui.url) as client:
        queue = AsyncQueueManager(client)
        job, seen = queue.add_job("steps", slow(steps=40, seconds=0.05)), set[float]()
        async with queue:
            while not job.status.ended:
                seen.add(queue.get_progress("steps") or 0.0)
                await asyncio.sleep(0.02)
            await queue.wait_for_completion(PATIENCE)
    assert job.status is JobStatus.COMPLETED
    assert any(0 < percent < 100 for percent in seen)


def test_a_batch_is_saved_and_what_is_done_is_not_run_again(client: ComfyUIClient, tmp_path: Path) -> None:
    jobs = sweep(tiny(48), {"1.color": [0x0000FF, 0xFF0000]})
    done = run(client, jobs, tmp_path, progress=False, timeout=PATIENCE)
    with Image.open(done[1].files[0]) as picture:
        assert picture.getpixel((0, 0)) == (0, 255, 255)
    again = run(client, [*jobs, Planned("third", tiny(40))], tmp_path, progress=False, timeout=PATIENCE)
    assert [job.prompt_id for job in again[:2]] == [job.prompt_id for job in done]
    assert again[2].status is JobStatus.COMPLETED
