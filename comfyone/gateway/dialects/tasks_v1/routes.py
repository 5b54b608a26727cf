"""The operations on tasks and workers; docs/reference/tasks.md says what each means."""

from __future__ import annotations

import time
from typing import Any

from blake3 import blake3
from starlette.responses import Response

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode
from comfyone.gateway.dialects.moments import moment
from comfyone.gateway.dialects.routing import GRAPH_FAULTS, Call, Query, Route
from comfyone.gateway.dialects.tasks_v1.codec import TasksCodec
from comfyone.gateway.dialects.tasks_v1.records import (
    STATUS,
    HealthAnswer,
    Message,
    QueueMetrics,
    SubmitTaskRequest,
    TaskList,
    TaskResponse,
    TaskStatus,
    WorkerMetrics,
    WorkerResponse,
    task_response,
    worker_metrics,
    worker_response,
)
from comfyone.gateway.domain.jobs import TERMINAL, JobState, Task
from comfyone.gateway.services.submissions import Submission

__all__ = ["TASK_ROUTES"]

MAX_TASKS = 200
STOPPING = 5.0
"""Seconds that a cancellation waits for the worker to let go, so that its answer is the outcome."""

_codec = TasksCodec()


# tasks


async def submit_task(call: Call) -> Response:
    raw = await call.bytes()
    body: SubmitTaskRequest = decode(raw, SubmitTaskRequest)
    submission = _submission(call, body, raw)
    job_id, replayed = await call.services.jobs.submit(call.principal, submission)
    response = _codec.success(await _task(call, job_id), call.route.status)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _submission(call: Call, body: SubmitTaskRequest, raw: bytes) -> Submission:
    if not body.workflow_id.strip():
        raise Fault("invalid_body", "workflow_id: is missing", field="workflow_id")
    content = bytes(body.payload)
    if not content.startswith(b"{"):
        raise Fault("invalid_body", "payload: is no object", field="payload")
    payload: dict[str, Any] = decode(content, dict[str, Any])
    options: dict[str, Any] = {
        "priority": body.priority,
        "idempotency_key": call.header(b"idempotency-key"),
        "digest": blake3(call.request.scope["path"].encode() + b"\0" + raw).digest(),
    }
    if any(isinstance(value, dict) and "class_type" in value for value in payload.values()):
        return Submission(graph=payload, raw=content, task=Task(body.workflow_id, None), **options)
    task = Task(body.workflow_id, content)
    return Submission(workflow=body.workflow_id, named=payload, loose=True, task=task, **options)


async def list_tasks(call: Call) -> TaskList:
    states = _states(call)
    views, asked = await call.services.tasks.page(
        call.principal, limit=call.number("limit"), offset=call.number("offset"), states=states
    )
    retries = call.services.tasks.retries
    tasks = [task_response(view, asked[view.job.id], retries) for view in views if view.job.id in asked]
    past = call.number("offset") + len(tasks)
    whole = len(tasks) == len(views) < call.number("limit") and (tasks or not call.number("offset"))
    return TaskList(tasks, past if whole else await call.services.tasks.count(call.principal, states))


async def get_task(call: Call) -> TaskResponse:
    return await _task(call, call.path("id"))


async def cancel_task(call: Call) -> Message:
    job_id = call.path("id")
    try:
        await call.services.jobs.cancel(call.principal, job_id)
        wait, ended = STOPPING, TERMINAL - {JobState.CANCELLED}  # it may have ended before it was stopped
    except Fault as fault:
        if fault.slug != "job_finished":
            raise _known(fault) from fault
        wait, ended = 0.0, TERMINAL
    state = (await call.services.jobs.get(call.principal, job_id, wait)).job.state
    if state in ended:
        raise Fault("job_finished", f"Task cannot be cancelled: it is {STATUS[state]}")
    return Message("Task cancelled successfully")


async def _task(call: Call, job_id: str) -> TaskResponse:
    try:
        view, task = await call.services.tasks.get(call.principal, job_id)
    except Fault as fault:
        raise _known(fault) from fault
    return task_response(view, task, call.services.tasks.retries)


def _known(fault: Fault) -> Fault:
    """What is not found has the document's own words."""
    return Fault("not_found", "Task not found") if fault.slug == "not_found" else fault


def _states(call: Call) -> list[JobState]:
    wanted = call.request.query_params.get("status")
    states = [state for state, status in STATUS.items() if status == wanted]
    if wanted and not states:
        hint = f"choose among {', '.join(TaskStatus)}"
        raise Fault("invalid_body", f"status: '{wanted[:40]}' is none", field="status", hint=hint)
    return states


# workers


async def list_workers(call: Call) -> list[WorkerResponse]:
    return await _workers(call)


async def get_worker(call: Call) -> WorkerResponse:
    worker_id = call.path("id")
    for worker in await _workers(call):
        if worker.id == worker_id:
            return worker
    raise Fault("not_found", "Worker not found")


async def get_worker_metrics(call: Call) -> WorkerMetrics:
    return worker_metrics(await _workers(call))


async def _workers(call: Call) -> list[WorkerResponse]:
    at_work = await call.services.tasks.at_work(call.principal)
    seen = await call.services.backends.all(call.principal)
    return [worker_response(one, at_work.get(one.backend.id)) for one in seen]


# the service


async def get_queue_metrics(call: Call) -> QueueMetrics:
    tally = await call.services.tasks.tally(call.principal)
    counts = {status: sum(tally[state] for state in STATUS if STATUS[state] is status) for status in TaskStatus}
    return QueueMetrics(
        **{f"{status}_tasks": count for status, count in counts.items()}, total_tasks=sum(counts.values())
    )


async def health_check(_: Call) -> HealthAnswer:
    return HealthAnswer("ok", moment(time.time()))


async def readiness_check(call: Call) -> HealthAnswer:
    if not await call.services.readiness.ready():
        raise Fault("unavailable", "Service is not ready", retry_after=1)
    return HealthAnswer("ready", moment(time.time()))


TASK_ROUTES = (
    Route(
        "POST",
        "/api/v1/tasks",
        submit_task,
        "Submit a task",
        SubmitTaskRequest,
        TaskResponse,
        status=201,
        faults=("address_refused", "fetch_failed", "not_found", *GRAPH_FAULTS),
    ),
    Route(
        "GET",
        "/api/v1/tasks",
        list_tasks,
        "Tasks, newest first",
        answer=TaskList,
        query=(
            Query("status", "only those with this status", choices=tuple(TaskStatus)),
            Query("limit", "how many", int, 100, 1, MAX_TASKS),
            Query("offset", "how many to leave out", int, 0, 0),
        ),
        faults=("scope_missing",),
    ),
    Route("GET", "/api/v1/tasks/{id}", get_task, "A task", answer=TaskResponse, faults=("not_found", "scope_missing")),
    Route(
        "DELETE",
        "/api/v1/tasks/{id}",
        cancel_task,
        "Cancel a task that is pending or running",
        answer=Message,
        faults=("not_found", "job_finished", "scope_missing"),
    ),
    Route("GET", "/api/v1/workers", list_workers, "All workers", answer=list[WorkerResponse]),
    Route("GET", "/api/v1/workers/metrics", get_worker_metrics, "How many workers there are", answer=WorkerMetrics),
    Route("GET", "/api/v1/workers/{id}", get_worker, "A worker", answer=WorkerResponse, faults=("not_found",)),
    Route(
        "GET",
        "/api/v1/queue/metrics",
        get_queue_metrics,
        "How many tasks there are",
        answer=QueueMetrics,
        faults=("scope_missing",),
    ),
    Route("GET", "/health", health_check, "Whether the service runs", answer=HealthAnswer, open=True),
    Route(
        "GET",
        "/ready",
        readiness_check,
        "Whether the service takes tasks",
        answer=HealthAnswer,
        open=True,
        faults=("unavailable",),
    ),
)
