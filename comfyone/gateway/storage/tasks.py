"""What a client of tasks and workers asked for, and what it counts."""

from __future__ import annotations

from collections.abc import Sequence

from comfyone.gateway.domain.jobs import JobState, Task
from comfyone.gateway.storage.sql import Sql

__all__ = ["add_task", "at_work", "count", "tally", "tasks_of"]


MAX_BYTES = 32 * 1024 * 1024
"""Bytes of payloads after which no more are read at once."""


def add_task(sql: Sql, job_id: str, task: Task) -> None:
    sql.run(
        "INSERT INTO job_tasks (job_id, workflow_id, payload) VALUES (?, ?, ?)",
        (job_id, task.workflow_id, task.payload),
    )


def tasks_of(sql: Sql, tenant_id: str, job_ids: Sequence[str]) -> dict[str, Task]:
    """How jobs were asked for, by id, the newest first and as many as memory should hold. Those that came otherwise have the
    workflow and values, or the graph, that they run."""
    marks, size, tasks = ", ".join("?" * len(job_ids)), 0, dict[str, Task]()
    rows = sql.each(
        "SELECT j.id, COALESCE(t.workflow_id, j.workflow_id, ''), COALESCE(t.payload, g.graph, j.input_values) "
        "FROM jobs j LEFT JOIN job_tasks t ON t.job_id = j.id LEFT JOIN job_graphs g ON g.job_id = j.id "
        f"WHERE j.id IN ({marks}) AND j.tenant_id = ? ORDER BY j.id DESC",
        (*job_ids, tenant_id),
    )
    for job_id, workflow_id, payload in rows:
        tasks[job_id] = Task(workflow_id, payload)
        size += len(payload)
        if size > MAX_BYTES:
            break
    return tasks


def at_work(sql: Sql, tenant_id: str) -> dict[str, str]:
    """The job of the tenant that each backend runs, by the backend's id."""
    rows = sql.all(
        "SELECT backend_id, id, state FROM jobs WHERE state IN ('dispatched', 'running') AND tenant_id = ? ORDER BY id",
        (tenant_id,),
    )
    return {backend_id: job_id for backend_id, job_id, state in rows if state == JobState.RUNNING}


def count(sql: Sql, tenant_id: str, states: Sequence[JobState]) -> int:
    among = f"AND state IN ({', '.join('?' * len(states))})" if states else ""
    row = sql.one(f"SELECT COUNT(*) FROM jobs WHERE tenant_id = ? {among}", (tenant_id, *states))
    assert row is not None
    return int(row[0])


def tally(sql: Sql, tenant_id: str) -> dict[JobState, int]:
    """How many jobs stand how: those that have not ended, and all that ever ended."""
    counts = dict.fromkeys(JobState, 0)
    for among in ("state = 'queued'", "state IN ('dispatched', 'running')"):  # each has an index of its own
        rows = sql.all(f"SELECT state, COUNT(*) FROM jobs WHERE {among} AND tenant_id = ? GROUP BY state", (tenant_id,))
        counts.update({JobState(state): count for state, count in rows})
    ended = sql.one("SELECT SUM(succeeded), SUM(failed), SUM(cancelled) FROM usage WHERE tenant_id = ?", (tenant_id,))
    assert ended is not None
    states = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    return counts | {state: count or 0 for state, count in zip(states, ended, strict=True)}
