"""What a person watches while a batch runs: a line for each job that runs, and one for the whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from comfyone.batch.jobs import Job, JobStatus
from comfyone.utils.text import format_duration

__all__ = ["Watched", "showing"]

_LINES = 12
_NAME = 40


class Watched(Protocol):
    """What is asked of a queue; both colours have it."""

    def get_statistics(self) -> dict[str, Any]:
        """Counts by status."""

    def get_jobs_by_status(self, status: JobStatus | str) -> list[Job]:
        """The jobs that stand so."""

    def get_progress(self, job_id: str) -> float | None:
        """How far a job has come, in percent."""


@contextmanager
def showing(
    queue: Watched, *, done_before: int = 0, quiet: bool = False, console: Console | None = None
) -> Iterator[None]:
    """Show a queue's progress for as long as the context lasts, on standard error; nothing where that is no terminal.

    Args:
        done_before: Jobs of the batch that were completed in an earlier run, and are not in the queue.
        quiet: Show nothing.
    """
    console = console or Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    picture = _Picture(queue, done_before)
    with Live(console=console, refresh_per_second=4, get_renderable=picture.render):
        yield


class _Picture:
    def __init__(self, queue: Watched, done_before: int) -> None:
        self._queue = queue
        self._before = done_before
        self._begin = time.monotonic()

    def render(self) -> RenderableType:
        """The lines as they are now."""
        running = self._queue.get_jobs_by_status(JobStatus.RUNNING)
        lines = Table.grid(padding=(0, 1))
        lines.add_column(width=_NAME, no_wrap=True, overflow="ellipsis")
        lines.add_column()
        lines.add_column(no_wrap=True)
        for job in running[:_LINES]:
            percent = self._queue.get_progress(job.job_id)
            told = "" if percent is None else f"{percent:3.0f} %"
            lines.add_row(Text(job.job_id), _bar(percent), Text(told))
        counts = self._queue.get_statistics()
        ended = counts["completed"] + counts["failed"] + counts["cancelled"]
        total = self._before + counts["total_jobs"]
        done = self._before + ended
        share = 100.0 * done / total if total else 100.0
        lines.add_row(Text("all jobs", style="bold"), _bar(share), Text(f"{share:3.0f} %"))
        hidden = [Text(f"and {len(running) - _LINES} more that run")] if len(running) > _LINES else []
        return Group(lines, *hidden, Text(self._summary(counts, done, total, ended)))

    def _summary(self, counts: dict[str, Any], done: int, total: int, ended: int) -> str:
        passed = time.monotonic() - self._begin
        parts = [f"{done} of {total} done", f"{counts['running']} running", f"{counts['pending']} waiting"]
        parts += [f"{counts[name]} {name}" for name in ("failed", "cancelled") if counts[name]]
        parts.append(format_duration(passed))
        if ended and done < total:
            parts.append(f"about {format_duration(passed / ended * (total - done))} left")
        return " · ".join([*parts, "paused"] if counts["is_paused"] else parts)


def _bar(percent: float | None) -> ProgressBar:
    """A bar; one that moves to and fro where nobody knows how far it is."""
    return ProgressBar(total=100, completed=percent or 0.0, width=30, pulse=percent is None)
