"""What v1 tells webhooks: the essentials of a job's status, as they are after the event."""

from __future__ import annotations

from typing import Any

import msgspec

from comfyone.gateway.dialects.comfyone_v1.records import STATUS, status_record
from comfyone.gateway.dialects.moments import moment
from comfyone.gateway.domain.jobs import REQUEUED, JobEvent, JobState
from comfyone.gateway.domain.webhooks import TEST, type_of
from comfyone.gateway.ports import JobView

__all__ = ["job_message", "trial_message"]

_ALWAYS = (
    "id",
    "taskId",
    "task_id",
    "workflow_id",
    "version",
    "attempts",
    "backend",
    "priority",
    "created_at",
    "started_at",
)
_AT_THE_END = ("message", "cost_time", "error", "outputs", "images", "finished_at")


def job_message(event: JobEvent, view: JobView) -> bytes:
    """The message of an event. The inputs are not in it: they are the tenant's own, and may be long.

    The job may have gone on within the transaction that committed the event, even to its end; the message says nothing of
    what came after its event.
    """
    record = status_record(view, 0.0, None)
    state = JobState.QUEUED if event.type == REQUEUED else JobState(event.type)
    names = (*_ALWAYS, *_AT_THE_END) if event.terminal else _ALWAYS
    known = {name: getattr(record, name) for name in names}
    data = {name: value for name, value in known.items() if value is not msgspec.UNSET}
    return _message(type_of(event.type), event.at, {**data, "state": state, "status": STATUS[state]})


def trial_message(webhook_id: str, at: float) -> bytes:
    """A message that only tries the way."""
    return _message(TEST, at, {"webhook_id": webhook_id})


def _message(type_: str, at: float, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": type_, "timestamp": moment(at), "data": data})
