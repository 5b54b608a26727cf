"""A job of a queue: what it is to run, how it stands, what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["Job", "JobStatus"]


class JobStatus(StrEnum):
    """How a job stands. The last three are ends, and an end never changes."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the job."""
        return self not in (JobStatus.PENDING, JobStatus.RUNNING)


@dataclass(eq=False, kw_only=True)
class Job:
    """One run of a workflow. Its queue keeps it up to date; read it whenever you like, and change nothing.

    Args:
        job_id: Its name in the queue.
        workflow: The queue's own copy of what was added.
        prompt_id: Its newest prompt, from just before that is sent.
        result: The server's history entry, once completed.
        error: Why it failed, in words; ``exception`` is the same for a program.
        metadata: Whatever whoever added it wants to know later.
        created_at: When it was added; this and the other times are seconds since 1970.
        started_at: When a worker took it, the last time.
        completed_at: When it came to its end, whichever that is.
        retry_count: How often it was tried again.
        server: Where its newest prompt was sent.
        files: Where its results were saved, if they were.
    """

    job_id: str
    workflow: dict[str, Any]
    status: JobStatus = JobStatus.PENDING
    prompt_id: str | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    completed_at: float | None = None
    retry_count: int = 0
    server: str | None = None
    exception: BaseException | None = None
    files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        return f"Job({self.job_id!r}, {self.status.value})"
