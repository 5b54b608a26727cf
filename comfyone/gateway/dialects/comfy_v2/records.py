"""The records of Comfy API v2. What may be null is sent as null: clients miss it otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from comfyone.gateway.dialects.comfy_v2.links import Links
from comfyone.gateway.dialects.comfy_v2.results import Result
from comfyone.gateway.dialects.comfy_v2.statuses import status_of
from comfyone.gateway.dialects.moments import moment, moment_or_none
from comfyone.gateway.domain.files import Asset
from comfyone.gateway.domain.jobs import TERMINAL, Failure, Job, JobState
from comfyone.gateway.ports import JobView

__all__ = [
    "PRIORITY",
    "V2Asset",
    "V2Health",
    "V2Job",
    "V2JobItem",
    "V2JobPage",
    "V2Output",
    "V2Progress",
    "V2Workflow",
    "asset_record",
    "hash_text",
    "item_record",
    "job_record",
    "output_record",
    "position_of",
    "result_record",
    "results_of",
    "until_of",
]

PRIORITY = ":priority"
"""Where a job's metadata remember the priority as it was asked for; no label can be spelled so."""

LINK_SECONDS = 24 * 3600.0
"""For how long a link to a file is good that has no end of its own, counted from each time that it is told."""

_CODES: Mapping[str, str] = {"node_error": "node_execution_error"}


class V2Urls(msgspec.Struct, frozen=True, rename={"own": "self"}):
    own: str
    events: str
    cancel: str


class V2Progress(msgspec.Struct, frozen=True):
    value: float
    nodes_done: int
    nodes_total: int
    current_node: str | None = None
    current_node_class: str | None = None
    step: int | None = None
    steps: int | None = None
    message: str | None = None


class V2JobError(msgspec.Struct, frozen=True):
    code: str
    message: str
    node_id: str | None = None
    class_type: str | None = None
    traceback: str | None = None


class V2Output(msgspec.Struct, frozen=True):
    node_id: str
    name: str
    type: str
    content_type: str
    size_bytes: int
    id: str
    hash: str | None
    url: str
    url_expires_at: str
    job_id: str | None = None


class V2Job(msgspec.Struct, frozen=True):
    id: str
    status: str
    created_at: str
    started_at: str | None
    completed_at: str | None
    expires_at: str
    queue_position: int | None
    progress: V2Progress | None
    outputs: list[V2Output]
    error: V2JobError | None
    metrics: dict[str, int | None]
    metadata: dict[str, str]
    urls: V2Urls
    priority: int | msgspec.UnsetType = msgspec.UNSET


class V2JobItem(msgspec.Struct, frozen=True):
    id: str
    status: str
    create_time: str
    update_time: str
    started_at: str | None
    completed_at: str | None
    queue_position: int | None
    metadata: dict[str, str]
    deployment_id: str | None = None


class V2JobPage(msgspec.Struct, frozen=True):
    jobs: list[V2JobItem]
    next_cursor: str | None = None


class V2Workflow(msgspec.Struct, frozen=True):
    workflow: dict[str, Any]
    format: str = "api"


class V2Asset(msgspec.Struct, frozen=True):
    id: str
    hash: str | None
    size_bytes: int
    content_type: str
    created_at: str
    url: str
    url_expires_at: str
    file_path: str | None = None
    created_new: bool | None = None
    expires_at: str | None = None
    job_id: str | None = None


class V2Health(msgspec.Struct, frozen=True):
    status: str = "healthy"


def job_record(
    view: JobView, metadata: Mapping[str, str], progress: V2Progress | None, links: Links, retention: float
) -> V2Job:
    job = view.job
    until = until_of(job, retention)
    urls = links.job(job.id)
    return V2Job(
        id=job.id,
        status=status_of(job),
        created_at=moment(job.created_at),
        started_at=moment_or_none(job.started_at),
        completed_at=moment_or_none(job.finished_at),
        expires_at=moment(until),
        queue_position=position_of(view),
        progress=None if job.state in TERMINAL else progress,
        outputs=[output_record(result, links, until) for result in results_of(view)],
        error=_error_record(job.error) if job.state is JobState.FAILED and job.error else None,
        metrics={
            "queue_ms": _between(job.created_at, job.started_at),
            "execution_ms": _between(job.started_at, job.executed_at or job.finished_at),
        },
        metadata=_labels(metadata),
        urls=V2Urls(urls["self"], urls["events"], urls["cancel"]),
        priority=int(metadata[PRIORITY]) if PRIORITY in metadata else msgspec.UNSET,
    )


def item_record(view: JobView, metadata: Mapping[str, str]) -> V2JobItem:
    job = view.job
    latest = max(filter(None, (job.queued_at, job.dispatched_at, job.started_at, job.executed_at, job.finished_at)))
    return V2JobItem(
        id=job.id,
        status=status_of(job),
        create_time=moment(job.created_at),
        update_time=moment(latest),
        started_at=moment_or_none(job.started_at),
        completed_at=moment_or_none(job.finished_at),
        queue_position=position_of(view),
        metadata=_labels(metadata),
    )


def position_of(view: JobView) -> int | None:
    """Its place in the queue, counted from 1; what a backend has been given is the next."""
    if view.job.state is JobState.DISPATCHED and not view.job.cancelling:
        return 1
    return None if view.position is None else view.position + 1


def results_of(view: JobView) -> list[Result]:
    results = [Result(view.job.id, position, output) for position, output in enumerate(view.outputs)]
    return [result for result in results if result.is_there]


def output_record(result: Result, links: Links, until: float) -> V2Output:
    asset = result.asset
    return V2Output(
        node_id=result.output.node_id,
        name=result.name,
        type=result.type,
        content_type=asset.mime,
        size_bytes=asset.size,
        id=result.id,
        hash=hash_text(asset.hash),
        url=links.content(result.id),
        url_expires_at=moment(until),
        job_id=result.job_id,
    )


def asset_record(asset: Asset, links: Links, *, created_new: bool | None = None) -> V2Asset:
    """An upload."""
    until = time.time() + LINK_SECONDS
    return V2Asset(
        id=asset.id,
        hash=hash_text(asset.hash),
        size_bytes=asset.size,
        content_type=asset.mime,
        created_at=moment(asset.created_at),
        url=links.content(asset.id),
        url_expires_at=moment(until if asset.expires_at is None else min(until, asset.expires_at)),
        file_path=asset.name,
        created_new=created_new,
        expires_at=moment_or_none(asset.expires_at),
    )


def result_record(result: Result, job: Job, links: Links, retention: float) -> V2Asset:
    """What a job made, as an asset."""
    asset, until = result.asset, until_of(job, retention)
    return V2Asset(
        id=result.id,
        hash=hash_text(asset.hash),
        size_bytes=asset.size,
        content_type=asset.mime,
        created_at=moment(job.finished_at or job.created_at),
        url=links.content(result.id),
        url_expires_at=moment(until),
        file_path=result.name,
        expires_at=moment(until),
        job_id=job.id,
    )


def hash_text(hash: str) -> str:
    return f"blake3:{hash}"


def until_of(job: Job, retention: float) -> float:
    """When it may be forgotten; of one that has not ended, at the earliest."""
    return (job.finished_at or time.time()) + retention


def _labels(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if not key.startswith(":")}


def _error_record(failure: Failure) -> V2JobError:
    traceback = "".join(failure.traceback) if failure.traceback else None
    code = _CODES.get(failure.type, failure.type)
    return V2JobError(code, failure.reason, failure.node_id, failure.node_type, traceback)


def _between(began: float | None, ended: float | None) -> int | None:
    return round(max(ended - began, 0.0) * 1000) if began and ended else None
