"""What callers in ComfyUI's own words said of their jobs: whom to address, under which id, and what to send along."""

from __future__ import annotations

import msgspec

from comfyone.errors import Fault
from comfyone.gateway.domain.jobs import NewJob, Origin
from comfyone.gateway.storage.rows import json_text
from comfyone.gateway.storage.sql import Row, Sql

__all__ = [
    "ORIGIN",
    "add_origin",
    "check_prompt_id",
    "front_rank",
    "job_of_prompt",
    "origin_of",
    "placed_for",
    "read_origin",
]

ORIGIN = "client_id, prompt_id, extra_data, targets, front"

_targets = msgspec.json.Decoder(tuple[str, ...])

STEP = 1.0
"""How far before the first of a queue a job is put that goes to its front."""


def add_origin(sql: Sql, tenant_id: str, job: NewJob, origin: Origin) -> None:
    sql.run(
        "INSERT INTO job_origins (job_id, tenant_id, client_id, prompt_id, extra_data, targets, front) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            job.id,
            tenant_id,
            origin.client_id,
            origin.prompt_id,
            msgspec.json.encode(origin.extra_data),
            json_text(origin.targets),
            int(origin.front),
        ),
    )


def check_prompt_id(sql: Sql, tenant_id: str, prompt_id: str) -> None:
    """Raises:
    Fault: ``conflict`` when a job of the tenant is known by this id: as its prompt id, or as its own.
    """
    if job_of_prompt(sql, tenant_id, prompt_id):
        raise Fault("conflict", f"there is a prompt '{prompt_id}' already", field="prompt_id")


def front_rank(sql: Sql, tenant_id: str, rank: float) -> float:
    """The rank before all that a tenant has waiting, or ``rank`` where that is before them anyway."""
    row = sql.one("SELECT MIN(rank) FROM jobs WHERE state = 'queued' AND tenant_id = ?", (tenant_id,))
    return rank if row is None or row[0] is None else min(rank, row[0] - STEP)


def origin_of(sql: Sql, job_id: str) -> Origin | None:
    row = sql.one(f"SELECT {ORIGIN} FROM job_origins WHERE job_id = ?", (job_id,))
    return read_origin(row) if row else None


def read_origin(row: Row) -> Origin:
    """From the columns `ORIGIN`."""
    client_id, prompt_id, extra_data, targets, front = row
    return Origin(client_id, prompt_id, msgspec.json.decode(extra_data), _targets.decode(targets), bool(front))


def job_of_prompt(sql: Sql, tenant_id: str, prompt_id: str) -> str | None:
    """The id of the tenant's job that is shown under a prompt id: the caller's own, or else the job's."""
    found = _job_with(sql, tenant_id, prompt_id)
    if found is None:
        row = sql.one("SELECT id FROM jobs WHERE id = ? AND tenant_id = ?", (prompt_id, tenant_id))
        found = row[0] if row else None
    return found


def placed_for(sql: Sql, tenant_id: str, client_id: str) -> list[str]:
    """The ids of the tenant's jobs that backends have and whose messages go to this client, the latest last."""
    rows = sql.all(
        "SELECT j.id FROM jobs j JOIN job_origins o ON o.job_id = j.id WHERE j.state IN ('dispatched', 'running') "
        "AND j.tenant_id = ? AND o.client_id = ? ORDER BY j.started_at, j.id",
        (tenant_id, client_id),
    )
    return [row[0] for row in rows]


def _job_with(sql: Sql, tenant_id: str, prompt_id: str) -> str | None:
    row = sql.one("SELECT job_id FROM job_origins WHERE tenant_id = ? AND prompt_id = ?", (tenant_id, prompt_id))
    return row[0] if row else None
