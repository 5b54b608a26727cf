"""The records that v1 answers with, every accepted spelling at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from comfyone.gateway.dialects.downloads import asset_url
from comfyone.gateway.dialects.moments import moment, moment_or_none
from comfyone.gateway.domain.backends import BackendState, Condition
from comfyone.gateway.domain.files import Asset, Output, asset_path
from comfyone.gateway.domain.jobs import Job, JobState
from comfyone.gateway.domain.workflows import Workflow
from comfyone.gateway.ports import JobView
from comfyone.gateway.services.backends import SeenBackend

__all__ = [
    "STATUS",
    "Accepted",
    "AssetRecord",
    "BackendRecord",
    "ConditionRecord",
    "OutputRecord",
    "StatusRecord",
    "WorkflowRecord",
    "accepted",
    "asset_record",
    "backend_record",
    "status_record",
    "workflow_record",
]

STATUS = {
    JobState.QUEUED: "pendding",  # so spelled by the hosted service, and by every client of it
    JobState.DISPATCHED: "pendding",
    JobState.RUNNING: "running",
    JobState.SUCCEEDED: "finished",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancel",
}


class BackendRecord(msgspec.Struct, frozen=True):
    name: str
    instance_id: str
    url: str | None
    shared: bool
    state: str
    status: str
    is_live: bool
    is_down: bool
    reason: str | None
    weight: int
    labels: dict[str, str]
    running: int | None
    created_at: str


class ConditionRecord(msgspec.Struct, frozen=True):
    at: str
    condition: str
    reason: str | None


class WorkflowRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    name: str
    version: int
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[str, ...]
    created_at: str
    updated_at: str
    workflow: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class AssetRecord(msgspec.Struct, frozen=True):
    id: str
    Path: str
    path: str
    url: str
    name: str
    mime: str
    size: int
    hash: str
    created_at: str
    expires_at: str | None


class Accepted(msgspec.Struct, frozen=True):
    taskId: str  # noqa: N815 - the wire's own spelling
    task_id: str
    id: str
    status: str
    state: str


class OutputRecord(msgspec.Struct, frozen=True):
    node_id: str
    kind: str
    name: str | None = None
    url: str | None = None
    mime: str | None = None
    size: int | None = None
    hash: str | None = None
    value: msgspec.Raw | None = None


class JobErrorRecord(msgspec.Struct, frozen=True):
    type: str
    message: str
    node_id: str | None = None
    node_type: str | None = None
    hint: str | None = None


class TimesRecord(msgspec.Struct, frozen=True):
    """Seconds of each step, as far as it is over: waiting here, waiting on the backend, running there, and fetching and storing
    what it made."""

    queue: float | None
    start: float | None
    run: float | None
    store: float | None


class StatusRecord(msgspec.Struct, frozen=True):
    id: str
    taskId: str  # noqa: N815
    task_id: str
    status: str
    state: str
    message: str
    cost_time: float | None
    workflow_id: str | None
    version: int | None
    progress: float
    current: int | None
    eta: float | None
    cancelling: bool
    attempts: int
    backend: str | None
    priority: int
    error: JobErrorRecord | None
    outputs: list[OutputRecord]
    inputs: msgspec.Raw
    labels: dict[str, str]
    times: TimesRecord
    created_at: str
    dispatched_at: str | None
    started_at: str | None
    executed_at: str | None
    finished_at: str | None
    images: list[str] | msgspec.UnsetType = msgspec.UNSET


def backend_record(seen: SeenBackend) -> BackendRecord:
    """Of a shared backend, other tenants see neither where it is nor what all tenants together do there."""
    backend, health = seen.backend, seen.health
    foreign = not backend.url
    reason = "it does not answer" if foreign and not health.live else health.reason
    status = {
        BackendState.DOWN: "down",
        BackendState.DRAINING: "draining",
        BackendState.UP: "running" if health.condition is Condition.LIVE else health.condition,
    }
    return BackendRecord(
        name=backend.name,
        instance_id=backend.instance_id,
        url=backend.url or None,
        shared=backend.shared,
        state=backend.state,
        status=status[backend.state],
        is_live=health.live,
        is_down=backend.state is BackendState.DOWN,
        reason=reason,
        weight=backend.weight,
        labels=dict(backend.labels),
        running=None if foreign else health.load,
        created_at=moment(backend.created_at),
    )


def workflow_record(workflow: Workflow, *, graph: bool = True) -> WorkflowRecord:
    inputs = tuple(
        {name: value for name, value in msgspec.to_builtins(spec).items() if value is not None}
        for spec in workflow.inputs
    )
    return WorkflowRecord(
        id=workflow.id,
        name=workflow.name,
        version=workflow.version,
        inputs=inputs,
        outputs=workflow.outputs,
        created_at=moment(workflow.created_at),
        updated_at=moment(workflow.updated_at),
        workflow=msgspec.Raw(workflow.graph) if graph else msgspec.UNSET,
    )


def asset_record(asset: Asset) -> AssetRecord:
    path = asset_path(asset)
    return AssetRecord(
        id=asset.id,
        Path=path,
        path=path,
        url=asset_url(asset),
        name=asset.name,
        mime=asset.mime,
        size=asset.size,
        hash=asset.hash,
        created_at=moment(asset.created_at),
        expires_at=None if asset.expires_at is None else moment(asset.expires_at),
    )


def accepted(job_id: str) -> Accepted:
    return Accepted(job_id, job_id, job_id, STATUS[JobState.QUEUED], JobState.QUEUED)


def output_record(output: Output) -> OutputRecord:
    value = msgspec.Raw(output.value) if output.value is not None else None
    asset = output.asset
    if asset is None:
        return OutputRecord(output.node_id, output.kind, output.name, value=value)
    return OutputRecord(output.node_id, output.kind, output.name, asset_url(asset), asset.mime, asset.size, asset.hash)


def status_record(view: JobView, percent: float, eta: float | None) -> StatusRecord:
    job = view.job
    done = job.state is JobState.SUCCEEDED
    cost = job.finished_at - job.started_at if job.finished_at and job.started_at else None
    images = [asset_url(output.asset) for output in view.outputs if output.asset]
    return StatusRecord(
        id=job.id,
        taskId=job.id,
        task_id=job.id,
        status=STATUS[job.state],
        state=job.state,
        message="success" if done else (job.error.message if job.error else ""),
        images=images or msgspec.UNSET,
        cost_time=None if cost is None else round(max(cost, 0.0), 3),
        workflow_id=job.workflow_id,
        version=job.version,
        progress=100.0 if done else percent,
        current=view.position,
        eta=eta,
        cancelling=job.cancelling,
        attempts=job.attempt,
        backend=view.backend_name,
        priority=job.priority,
        error=msgspec.convert(job.error, JobErrorRecord, from_attributes=True) if job.error else None,
        outputs=[output_record(output) for output in view.outputs],
        inputs=msgspec.Raw(job.values),
        labels=dict(job.labels),
        times=_times(job),
        created_at=moment(job.created_at),
        dispatched_at=moment_or_none(job.dispatched_at),
        started_at=moment_or_none(job.started_at),
        executed_at=moment_or_none(job.executed_at),
        finished_at=moment_or_none(job.finished_at),
    )


def _times(job: Job) -> TimesRecord:
    """Of the last attempt; ``queue`` counts from the last time that the job came into the queue."""
    stored = job.finished_at if job.state is JobState.SUCCEEDED else None
    steps = (job.queued_at, job.dispatched_at, job.started_at, job.executed_at, stored)
    return TimesRecord(*(_between(began, ended) for began, ended in pairwise(steps)))


def _between(began: float | None, ended: float | None) -> float | None:
    return round(max(ended - began, 0.0), 3) if began and ended else None
