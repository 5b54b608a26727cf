"""What tasks and workers look like on the wire. The names are those of the document."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from comfyone.gateway.dialects.downloads import asset_url
from comfyone.gateway.dialects.moments import moment, moment_or_none
from comfyone.gateway.domain.backends import BackendState, Condition
from comfyone.gateway.domain.files import Output
from comfyone.gateway.domain.jobs import Failure, JobState, Task
from comfyone.gateway.ports import JobView
from comfyone.gateway.services.backends import SeenBackend

__all__ = [
    "STATUS",
    "HealthAnswer",
    "Message",
    "QueueMetrics",
    "SubmitTaskRequest",
    "TaskList",
    "TaskResponse",
    "TaskStatus",
    "WorkerMetrics",
    "WorkerResponse",
    "WorkerStatus",
    "task_response",
    "worker_metrics",
    "worker_response",
]

MAX_WORKFLOW_ID = 200

Uuid = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]
DateTime = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
AnyObject = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]


class TaskStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WorkerStatus(StrEnum):
    PENDING = "pending"  # its owner has switched it off
    STARTING = "starting"  # nothing is known of it yet
    RUNNING = "running"  # it has a task
    IDLE = "idle"
    TERMINATING = "terminating"  # it finishes what it has and gets no more
    FAILED = "failed"  # it doesn't answer, or not as it should


STATUS = {
    JobState.QUEUED: TaskStatus.PENDING,
    JobState.DISPATCHED: TaskStatus.PENDING,
    JobState.RUNNING: TaskStatus.RUNNING,
    JobState.SUCCEEDED: TaskStatus.COMPLETED,
    JobState.FAILED: TaskStatus.FAILED,
    JobState.CANCELLED: TaskStatus.CANCELLED,
}


class SubmitTaskRequest(msgspec.Struct, frozen=True):
    """``payload`` is a graph in API format, or values for the inputs of the stored workflow ``workflow_id``."""

    workflow_id: Annotated[str, msgspec.Meta(max_length=MAX_WORKFLOW_ID)]
    payload: AnyObject
    priority: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0


class TaskOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file, with the path on this server that it is downloaded from; or a value."""

    node_id: str
    kind: str
    name: str | None = None
    url: str | None = None
    mime: str | None = None
    size: int | None = None
    hash: str | None = None
    value: msgspec.Raw | None = None


class TaskResult(msgspec.Struct, frozen=True):
    """Everything that the task produced; ``images`` are the paths of its files alone."""

    outputs: list[TaskOutput]
    images: list[str]


class TaskResponse(msgspec.Struct, frozen=True):
    id: Uuid
    workflow_id: str
    status: TaskStatus
    priority: int
    payload: AnyObject
    worker_id: Uuid | None
    created_at: DateTime
    started_at: DateTime | None
    completed_at: DateTime | None
    result: TaskResult | None
    error: str | None
    retry_count: int
    max_retries: int


class TaskList(msgspec.Struct, frozen=True):
    tasks: list[TaskResponse]
    count: int


class ResourceSpec(msgspec.Struct, frozen=True):
    """As the backend's labels of these names say."""

    cpu: str
    memory: str
    gpu: str | None


class WorkerResponse(msgspec.Struct, frozen=True):
    id: Uuid
    pod_name: str
    status: WorkerStatus
    endpoint: str
    port: int
    current_task_id: Uuid | None
    created_at: DateTime
    started_at: DateTime | None
    last_active_at: DateTime
    last_health_check: DateTime
    health_status: bool
    resources: ResourceSpec


class WorkerMetrics(msgspec.Struct, frozen=True):
    total_workers: int
    pending_workers: int
    starting_workers: int
    running_workers: int
    idle_workers: int
    terminating_workers: int
    failed_workers: int


class QueueMetrics(msgspec.Struct, frozen=True):
    """Of tasks that have ended, all that ever did are counted."""

    pending_tasks: int
    running_tasks: int
    completed_tasks: int
    failed_tasks: int
    cancelled_tasks: int
    total_tasks: int


class Message(msgspec.Struct, frozen=True):
    message: str


class HealthAnswer(msgspec.Struct, frozen=True):
    status: str
    timestamp: DateTime


def task_response(view: JobView, task: Task, max_retries: int) -> TaskResponse:
    job = view.job
    return TaskResponse(
        id=job.id,
        workflow_id=task.workflow_id,
        status=STATUS[job.state],
        priority=job.priority,
        payload=msgspec.Raw(task.payload or b"{}"),
        worker_id=None if STATUS[job.state] is TaskStatus.PENDING else job.backend_id,
        created_at=moment(job.created_at),
        started_at=moment_or_none(job.started_at),
        completed_at=moment_or_none(job.finished_at),
        result=_result(view) if job.state is JobState.SUCCEEDED else None,
        error=_error(job.error) if job.error else None,
        retry_count=max(job.attempt - 1, 0),
        max_retries=max_retries,
    )


def _error(error: Failure) -> str:
    place = f" (node {error.node_id}, {error.node_type})" if error.node_id and error.node_type else ""
    return error.message + place


def _result(view: JobView) -> TaskResult:
    images = [asset_url(output.asset) for output in view.outputs if output.asset]
    return TaskResult([_output(output) for output in view.outputs], images)


def _output(output: Output) -> TaskOutput:
    asset = output.asset
    if asset is None:
        value = msgspec.Raw(output.value) if output.value is not None else None
        return TaskOutput(output.node_id, output.kind, output.name, value=value)
    return TaskOutput(output.node_id, output.kind, output.name, asset_url(asset), asset.mime, asset.size, asset.hash)


def worker_response(seen: SeenBackend, task_id: str | None) -> WorkerResponse:
    """``task_id``: the tenant's own task there. Of a shared backend, where it is and what others do there is not told."""
    backend, health = seen.backend, seen.health
    parts, foreign = urlsplit(backend.url), not backend.url
    given_at = None if foreign else health.given_at
    return WorkerResponse(
        id=backend.id,
        pod_name=backend.name,
        status=_status(seen, task_id),
        endpoint=backend.url,
        port=parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0),
        current_task_id=task_id,
        created_at=moment(backend.created_at),
        started_at=moment_or_none(health.connected_at),
        last_active_at=moment(max(given_at or 0.0, backend.created_at)),
        last_health_check=moment(max(health.checked_at or 0.0, backend.created_at)),
        health_status=health.condition is Condition.LIVE,
        resources=ResourceSpec(
            backend.labels.get("cpu", "unknown"), backend.labels.get("memory", "unknown"), backend.labels.get("gpu")
        ),
    )


def _status(seen: SeenBackend, task_id: str | None) -> WorkerStatus:
    health = seen.health
    if seen.backend.state is not BackendState.UP:
        return WorkerStatus.PENDING if seen.backend.state is BackendState.DOWN else WorkerStatus.TERMINATING
    if health.condition is not Condition.LIVE:
        return WorkerStatus.STARTING if health.checked_at is None else WorkerStatus.FAILED
    busy = task_id is not None or (health.load > 0 and bool(seen.backend.url))
    return WorkerStatus.RUNNING if busy else WorkerStatus.IDLE


def worker_metrics(workers: list[WorkerResponse]) -> WorkerMetrics:
    counts = {status: sum(worker.status is status for worker in workers) for status in WorkerStatus}
    return WorkerMetrics(len(workers), *counts.values())
