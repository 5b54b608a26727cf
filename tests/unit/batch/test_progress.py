"""What a person watches while a batch runs."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from comfyone.batch.jobs import Job, JobStatus
from comfyone.batch.progress import showing
from comfyone.batch.queue import QueueManager
from comfyone.comfyui.client import ComfyUIClient
from comfyone.emulator import Sandbox
from tests.graphs import failing, sleeping, slow, tiny

from .conftest import CLIENT, QUICK


class Standing:
    """A queue that stands still."""

    def __init__(self, running: int, **counts: int) -> None:
        self._running = [
            Job(job_id=f"job {number}", workflow={}, status=JobStatus.RUNNING) for number in range(running)
        ]
        self._counts = {"total_jobs": 0, "pending": 0, "completed": 0, "failed": 0, "cancelled": 0, **counts}

    def get_statistics(self) -> dict[str, Any]:
        return {**self._counts, "running": len(self._running), "is_paused": False}

    def get_jobs_by_status(self, status: JobStatus | str) -> list[Job]:
        assert status == "running"
        return self._running

    def get_progress(self, job_id: str) -> float | None:
        return 37.0 if job_id == "job 0" else None


def shown(queue: Any, **settings: Any) -> str:
    """What is on the terminal."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with showing(queue, console=console, **settings):
        pass
    return screen.getvalue()


@pytest.mark.seed("S2-2")
def test_each_running_job_has_a_line_with_its_percentage_and_all_jobs_have_one() -> None:
    text = shown(Standing(2, total_jobs=8, completed=2, failed=1, pending=3), done_before=2)
    assert "job 0" in text
    assert " 37 %" in text
    assert "job 1" in text
    assert "all jobs" in text
    assert " 50 %" in text
    assert "5 of 10 done · 2 running · 3 waiting · 1 failed" in text


def test_of_very_many_running_jobs_the_rest_is_counted() -> None:
    text = shown(Standing(40, total_jobs=40))
    assert "job 11" in text
    assert "job 12" not in text
    assert "and 28 more that run" in text


def test_nothing_is_shown_without_a_terminal_or_when_told_to_be_quiet() -> None:
    screen = io.StringIO()
    with showing(Standing(1), console=Console(file=screen)):
        pass
    assert screen.getvalue() == ""
    assert shown(Standing(1), quiet=True) == ""


def test_a_real_batch_is_shown_until_its_end() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with Sandbox() as sandbox, ComfyUIClient(url=sandbox.url, **CLIENT) as client:
        queue = QueueManager(client, 1, max_retries=0, backoff=QUICK)
        for name, graph in {"steps": slow(20, 0.05), "bad": failing(), "rest": sleeping(0.1), "last": tiny()}.items():
            queue.add_job(name, graph)
        begin = time.monotonic()
        with showing(queue, console=console), queue:
            queue.wait_for_completion(20)
        assert time.monotonic() - begin < 15
    text = screen.getvalue()
    assert "steps" in text
    assert "4 of 4 done · 0 running · 0 waiting · 1 failed" in text
    assert "100 %" in text
