"""How jobs stand for ComfyUI's clients, and which of them they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from comfyone.gateway.domain.jobs import INTERRUPTED, Job, JobState

__all__ = ["WORKFLOW", "Listing", "PromptStatus", "status_of", "workflow_of"]

WORKFLOW = ":workflow"
"""Where a job's metadata remember the workflow that it was made from on ComfyUI's page; no label can be spelled so."""

MAX_WORKFLOW = 200
_PATH = ("extra_pnginfo", "workflow", "id")


class PromptStatus(StrEnum):
    PENDING = "pending"  # waits, with us or on a backend
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"  # its run was stopped, by its tenant or by somebody on the backend


_STATUS = {
    JobState.QUEUED: PromptStatus.PENDING,
    JobState.DISPATCHED: PromptStatus.PENDING,
    JobState.RUNNING: PromptStatus.IN_PROGRESS,
    JobState.SUCCEEDED: PromptStatus.COMPLETED,
    JobState.FAILED: PromptStatus.FAILED,
    JobState.CANCELLED: PromptStatus.CANCELLED,
}


def status_of(job: Job) -> PromptStatus:
    stopped = job.error is not None and job.error.type == INTERRUPTED
    return PromptStatus.CANCELLED if stopped else _STATUS[job.state]


def workflow_of(extra_data: Mapping[str, Any]) -> str | None:
    """The id of the workflow that a prompt was made from, as ComfyUI's page says it."""
    found: Any = extra_data
    for name in _PATH:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) and 0 < len(found) <= MAX_WORKFLOW else None


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of jobs: those with one of ``statuses``, of one workflow if it is named, the latest or those that ran longest
    first unless ``ascending``."""

    statuses: frozenset[PromptStatus]
    workflow_id: str | None
    by_duration: bool
    ascending: bool
    limit: int
    offset: int
