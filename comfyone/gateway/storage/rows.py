"""Rows to records and back: the columns of each noun, in the order of its record."""

from __future__ import annotations

from typing import Any

import msgspec

from comfyone.gateway.domain.backends import Backend, BackendState
from comfyone.gateway.domain.files import Asset, Output, ServerFile
from comfyone.gateway.domain.jobs import Failure, Job, JobEvent, JobState, Kind, Needs
from comfyone.gateway.domain.tenants import ApiKey, Scope, Tenant, TenantPolicy
from comfyone.gateway.domain.workflows import InputSpec, Workflow
from comfyone.gateway.storage.sql import Row

__all__ = [
    "ASSET",
    "BACKEND",
    "FIRST_EXPIRY",
    "JOB",
    "KEY",
    "NO_RESULT",
    "TENANT",
    "UNNAMED",
    "UNUSED",
    "WORKFLOW",
    "asset_of",
    "backend_of",
    "columns_of",
    "event_of",
    "failure_text",
    "inputs_text",
    "job_of",
    "json_text",
    "key_of",
    "kind_of",
    "needs_text",
    "output_of",
    "policy_text",
    "tenant_of",
    "workflow_of",
]

TENANT = "id, name, created_at, policy"
KEY = "id, tenant_id, name, hint, scopes, created_at, expires_at, revoked_at, workflows"
BACKEND = "id, tenant_id, name, instance_id, url, state, weight, labels, shared, created_at"
ASSET = "id, tenant_id, hash, name, mime, size, created_at, expires_at"
WORKFLOW = "w.id, w.tenant_id, w.name, v.version, v.inputs, v.outputs, v.graph, w.created_at, v.created_at"
JOB = (
    "id, tenant_id, workflow_id, version, state, priority, labels, needs, wanted_backend_id, backend_id, attempt, cancelling, "
    "free_cache, free_gpu, input_values, output_nodes, error, created_at, queued_at, dispatched_at, started_at, executed_at, "
    "finished_at"
)

NO_RESULT = "NOT EXISTS (SELECT 1 FROM outputs WHERE asset_id = assets.id)"
UNUSED = "NOT EXISTS (SELECT 1 FROM asset_uses WHERE asset_id = assets.id)"
UNNAMED = "NOT EXISTS (SELECT 1 FROM folders WHERE asset_id = assets.id)"
"""Of an asset: no job made it, no job that has not ended needs it, it has no name."""

FIRST_EXPIRY = "(SELECT MIN(f.expires_at) FROM folders f WHERE f.asset_id = assets.id)"
"""When the first of the names goes that keep an asset."""

_inputs = msgspec.json.Decoder(tuple[InputSpec, ...])
_strings = msgspec.json.Decoder(tuple[str, ...])
_labels = msgspec.json.Decoder(dict[str, str])
_failure = msgspec.json.Decoder(Failure)
_needs = msgspec.json.Decoder(Needs)
_file = msgspec.json.Decoder(ServerFile)
_names = msgspec.json.Decoder(tuple[str, ...] | None)
_policy = msgspec.json.Decoder(TenantPolicy)


def tenant_of(row: Row) -> Tenant:
    values = [*row[:3], _policy.decode(row[3])]
    return Tenant(*values)


def policy_text(policy: TenantPolicy) -> str:
    return msgspec.json.encode(policy, order="deterministic").decode()


def key_of(row: Row) -> ApiKey:
    workflows = _names.decode(row[8]) if row[8] else None
    values = [*row[:4], frozenset(Scope(name) for name in row[4].split()), *row[5:8], workflows]
    return ApiKey(*values)


def backend_of(row: Row) -> Backend:
    values = [*row[:5], BackendState(row[5]), row[6], _labels.decode(row[7]), bool(row[8]), row[9]]
    return Backend(*values)


def asset_of(row: Row) -> Asset:
    return Asset(*row)


def workflow_of(row: Row) -> Workflow:
    values = [*row[:4], _inputs.decode(row[4]), _strings.decode(row[5]), *row[6:]]
    return Workflow(*values)


def inputs_text(inputs: tuple[InputSpec, ...]) -> str:
    return msgspec.json.encode(inputs).decode()


def job_of(row: Row) -> Job:
    labels = _labels.decode(row[6]) if row[6] != "{}" else {}
    needs = _needs.decode(row[7]) if row[7] else None
    flags = [bool(flag) for flag in row[11:14]]
    error = _failure.decode(row[16]) if row[16] else None
    outputs = _strings.decode(row[15])
    state = JobState(row[4])
    values = [*row[:4], state, row[5], labels, needs, *row[8:11], *flags, row[14], outputs, error, *row[17:]]
    return Job(*values)


def kind_of(row: Row) -> Kind:
    needs, labels, wanted = row
    return Kind(_needs.decode(needs) if needs else None, tuple(_labels.decode(labels).items()), wanted)


def needs_text(needs: Needs | None) -> str | None:
    """The same needs are the same text, so that jobs can be told apart by it."""
    if needs is None:
        return None
    own = {"own": True} if needs.own else {}
    return json_text({"classes": sorted(needs.classes), "choices": sorted(needs.choices), **own})


def failure_text(failure: Failure | None) -> str | None:
    return msgspec.json.encode(failure).decode() if failure else None


def event_of(tenant_id: str, job_id: str, row: Row) -> JobEvent:
    number, type_, at, data = row
    return JobEvent(tenant_id, job_id, number, type_, at, msgspec.json.decode(data))


def columns_of(table: str, columns: str) -> str:
    """Columns, each with the table that it is of."""
    return ", ".join(f"{table}.{column.strip()}" for column in columns.split(","))


def output_of(row: Row) -> Output:
    node_id, kind, name, value, file, *columns = row
    asset = asset_of(tuple(columns)) if columns[0] else None
    return Output(node_id, kind, name, asset, value, file=_file.decode(file) if file else None)


def json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
