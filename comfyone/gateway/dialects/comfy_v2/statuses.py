"""How a job stands, in the words of Comfy API v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comfyone.gateway.dialects.comfy_v2.faults import Refusal
from comfyone.gateway.domain.jobs import REQUEUED, TERMINAL, Job, JobState, Standing

__all__ = ["EVENTS", "STATUSES", "standings_of", "status_of"]

EVENTS: Mapping[str, str] = {
    JobState.QUEUED: "queued",
    REQUEUED: "queued",
    JobState.DISPATCHED: "queued",
    JobState.RUNNING: "running",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "canceled",
}
"""The status after each event that changes it. What a backend has been given and has not begun is still queued."""

STATUSES: Mapping[str, Sequence[Standing]] = {
    "queued": (Standing(JobState.QUEUED), Standing(JobState.DISPATCHED, False)),
    "running": (Standing(JobState.RUNNING, False),),
    "canceling": (Standing(JobState.DISPATCHED, True), Standing(JobState.RUNNING, True)),
    "canceled": (Standing(JobState.CANCELLED),),
    "succeeded": (Standing(JobState.SUCCEEDED),),
    "failed": (Standing(JobState.FAILED),),
    "expired": (),  # what is past its time is not known any more
}
"""Every status, and the ways in which a job stands that has it."""


def status_of(job: Job) -> str:
    stopping = job.cancelling and job.state not in TERMINAL
    return "canceling" if stopping and job.state is not JobState.QUEUED else EVENTS[job.state]


def standings_of(statuses: Sequence[str]) -> list[Standing]:
    """Raises:
    Refusal: ``invalid_request`` for a word that is no status.
    """
    for status in statuses:
        if status not in STATUSES:
            raise Refusal(400, "invalid_request", f"?status={status[:40]} is none of {', '.join(STATUSES)}")
    return [standing for status in dict.fromkeys(statuses) for standing in STATUSES[status]]
