"""Moves a job from state to state: the row, its attempt and its event in one transaction, after the one table (law 6)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from comfyone.gateway.domain.jobs import REQUEUED, TERMINAL, Failure, Job, JobEvent, JobState, sources
from comfyone.gateway.storage.rows import json_text
from comfyone.gateway.storage.sql import Sql

__all__ = ["add_event", "add_usage", "error_data", "transition"]

_ENDED = "finished_at = :now, error = :error, started_at = COALESCE(started_at, :started), executed_at = COALESCE(:executed, executed_at)"
_SETS = {
    JobState.QUEUED: "backend_id = NULL, queued_at = :now, not_before = :not_before, dispatched_at = NULL, started_at = NULL",
    JobState.DISPATCHED: "backend_id = :backend_id, dispatched_at = :now, attempt = attempt + 1",
    JobState.RUNNING: "started_at = :now",
    JobState.SUCCEEDED: _ENDED,
    JobState.FAILED: _ENDED,
    JobState.CANCELLED: _ENDED,
}

_USAGE = (
    "INSERT INTO usage (tenant_id, day, workflow_id, backend_id, succeeded, failed, cancelled, backend_seconds, output_bytes) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id, day, workflow_id, backend_id) DO UPDATE SET "
    "succeeded = succeeded + excluded.succeeded, failed = failed + excluded.failed, cancelled = cancelled + excluded.cancelled, "
    "backend_seconds = backend_seconds + excluded.backend_seconds, output_bytes = output_bytes + excluded.output_bytes"
)

_UNSET = {"error": None, "started": None, "executed": None, "not_before": 0.0}
"""Columns that a transition may set, and what they are when it does not."""


def _statement(target: JobState) -> str:
    allowed = ", ".join(f"'{state}'" for state in sources(target))
    return (
        f"UPDATE jobs SET state = '{target}', last_event = last_event + 1, {_SETS[target]} "
        f"WHERE id = :job_id AND attempt = :attempt AND state IN ({allowed}) RETURNING tenant_id, last_event"
    )


_STATEMENTS = {target: _statement(target) for target in JobState}


def transition(
    sql: Sql,
    job_id: str,
    target: JobState,
    *,
    attempt: int,
    now: float,
    data: Mapping[str, Any] | None = None,
    **columns: Any,
) -> bool:
    """Moves a job, if the table allows it and its attempt is still the one named.

    The attempt is the fence: whoever followed an earlier one changes nothing any more.

    Returns:
        Whether the job moved. When it did, its event is written and will be published.
    """
    values = {"job_id": job_id, "attempt": attempt, "now": now, **_UNSET, **columns}
    row = sql.one(_STATEMENTS[target], values)
    if row is None:
        return False
    tenant_id, number = row
    if target in TERMINAL:
        sql.run("DELETE FROM asset_uses WHERE job_id = ?", (job_id,))
    type_ = REQUEUED if target is JobState.QUEUED else target
    add_event(sql, JobEvent(tenant_id, job_id, number, type_, now, data or {}))
    return True


def add_usage(
    sql: Sql, job: Job, now: float, *, state: JobState | None = None, seconds: float = 0.0, size: int = 0
) -> None:
    """Adds to the books what a job, or an attempt at it, has used; a job counts once, as what it became."""
    day = datetime.fromtimestamp(now, UTC).date().isoformat()
    ended = [int(state is one) for one in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)]
    sql.run(_USAGE, (job.tenant_id, day, job.workflow_id or "", job.backend_id or "", *ended, seconds, size))


def error_data(failure: Failure) -> dict[str, Any]:
    """What the event of a failure says of it."""
    return {"type": failure.type, "message": failure.message, "node_id": failure.node_id}


def add_event(sql: Sql, event: JobEvent) -> None:
    sql.run(
        "INSERT INTO job_events (job_id, number, type, at, data) VALUES (?, ?, ?, ?, ?)",
        (event.job_id, event.number, event.type, event.at, json_text(event.data)),
    )
    sql.events.append(event)
