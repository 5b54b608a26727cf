"""Rows to records and back: the columns of each noun, in the order of its record."""

from __future__ import annotations

from typing import Any

import msgspec

from comfyone.gateway.domain.backends import Backend, BackendState
from comfyone.gateway.domain.files import Asset, Output
from comfyone.gateway.domain.jobs import Failure, Job, JobEvent, JobState
from comfyone.gateway.domain.tenants import ApiKey, Scope
from comfyone.gateway.domain.workflows import InputSpec, Workflow
from comfyone.gateway.storage.sql import Row

__all__ = [
    "ASSET",
    "BACKEND",
    "JOB",
    "KEY",
    "WORKFLOW",
    "asset_of",
    "backend_of",
    "event_of",
    "failure_text",
    "inputs_text",
    "job_of",
    "json_text",
    "key_of",
    "output_of",
    "workflow_of",
]

KEY = "id, tenant_id, name, hint, scopes, created_at, expires_at, revoked_at"
BACKEND = "id, tenant_id, name, instance_id, url, state, weight, labels, created_at"
ASSET = "id, tenant_id, hash, name, mime, size, created_at"
WORKFLOW = "w.id, w.tenant_id, w.name, v.version, v.inputs, v.outputs, v.graph, w.created_at, v.created_at"
JOB = (
    "id, tenant_id, workflow_id, version, state, priority, wanted_backend_id, backend_id, attempt, cancelling, free_cache, "
    "free_gpu, input_values, output_nodes, error, created_at, queued_at, started_at, finished_at"
)

_inputs = msgspec.json.Decoder(tuple[InputSpec, ...])
_strings = msgspec.json.Decoder(tuple[str, ...])
_labels = msgspec.json.Decoder(dict[str, str])
_failure = msgspec.json.Decoder(Failure)


def key_of(row: Row) -> ApiKey:
    values = [*row[:4], frozenset(Scope(name) for name in row[4].split()), *row[5:]]
    return ApiKey(*values)


def backend_of(row: Row) -> Backend:
    values = [*row[:5], BackendState(row[5]), row[6], _labels.decode(row[7]), row[8]]
    return Backend(*values)


def asset_of(row: Row) -> Asset:
    return Asset(*row)


def workflow_of(row: Row) -> Workflow:
    values = [*row[:4], _inputs.decode(row[4]), _strings.decode(row[5]), *row[6:]]
    return Workflow(*values)


def inputs_text(inputs: tuple[InputSpec, ...]) -> str:
    return msgspec.json.encode(inputs).decode()


def job_of(row: Row) -> Job:
    error = _failure.decode(row[14]) if row[14] else None
    flags = [bool(flag) for flag in row[9:12]]
    values = [*row[:4], JobState(row[4]), *row[5:9], *flags, row[12], _strings.decode(row[13]), error, *row[15:]]
    return Job(*values)


def failure_text(failure: Failure | None) -> str | None:
    return msgspec.json.encode(failure).decode() if failure else None


def event_of(tenant_id: str, job_id: str, row: Row) -> JobEvent:
    number, type_, at, data = row
    return JobEvent(tenant_id, job_id, number, type_, at, msgspec.json.decode(data))


def output_of(row: Row) -> Output:
    node_id, kind, name, value, *asset = row
    return Output(node_id, kind, name, asset_of(tuple(asset)) if asset[0] else None, value)


def json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
