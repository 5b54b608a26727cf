"""What the dispatcher reads and changes, for all tenants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from comfyone.gateway.domain.backends import Backend
from comfyone.gateway.domain.files import Output
from comfyone.gateway.domain.jobs import Assignment, Failure, Job, JobState
from comfyone.gateway.domain.placement import Slot
from comfyone.gateway.storage.rows import BACKEND, JOB, backend_of, job_of
from comfyone.gateway.storage.sql import Sql
from comfyone.gateway.storage.tenant_door import SqlTenantDoor
from comfyone.gateway.storage.transitions import fail, transition

__all__ = ["SqlEngine"]

_PLACED = (
    "SELECT a.backend_id, a.prompt_id, "
    + ", ".join(f"j.{column.strip()}" for column in JOB.split(","))
    + " FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.number = j.attempt WHERE j.state IN ('dispatched', 'running') ORDER BY j.id"
)


class SqlEngine:
    """See `comfyone.gateway.ports.Engine`."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def backends(self) -> list[Backend]:
        return [backend_of(row) for row in self._sql.all(f"SELECT {BACKEND} FROM backends ORDER BY id")]

    def waiting_tenants(self) -> list[str]:
        """The tenants that have jobs in the queue."""
        return [
            row[0]
            for row in self._sql.all(
                "SELECT id FROM tenants WHERE EXISTS (SELECT 1 FROM jobs WHERE state = 'queued' AND tenant_id = tenants.id)"
            )
        ]

    def waiting(self, tenant_id: str, backend_ids: Sequence[str], limit: int) -> list[Job]:
        """The head of a tenant's queue that these backends may take: higher priority first, then first come first served."""
        marks = ", ".join("?" * len(backend_ids))
        rows = self._sql.all(
            f"SELECT {JOB} FROM jobs WHERE state = 'queued' AND tenant_id = ? "
            f"AND (wanted_backend_id IS NULL OR wanted_backend_id IN ({marks})) ORDER BY rank, id LIMIT ?",
            (tenant_id, *backend_ids, limit),
        )
        return [job_of(row) for row in rows]

    def stranded(self, tenant_id: str, backend_ids: Sequence[str], before: float, limit: int) -> list[Job]:
        """Jobs queued before ``before`` that none of these backends, the usable ones, may take."""
        marks = ", ".join("?" * len(backend_ids))
        unable = f"wanted_backend_id NOT IN ({marks})" if backend_ids else "1 = 1"
        rows = self._sql.all(
            f"SELECT {JOB} FROM jobs WHERE state = 'queued' AND tenant_id = ? AND queued_at < ? AND {unable} ORDER BY id LIMIT ?",
            (tenant_id, before, *backend_ids, limit),
        )
        return [job_of(row) for row in rows]

    def claim(self, job: Job, backend: Slot, prompt_id: str, now: float) -> Assignment | None:
        """Gives a queued job to a backend, with the prompt id on record before anything is sent (law 4)."""
        number = job.attempt + 1
        moved = transition(
            self._sql,
            job.id,
            JobState.DISPATCHED,
            attempt=job.attempt,
            now=now,
            data={"backend": backend.name, "attempt": number},
            backend_id=backend.backend_id,
        )
        if not moved:
            return None
        self._sql.run(
            "INSERT INTO attempts (job_id, number, prompt_id, backend_id, claimed_at) VALUES (?, ?, ?, ?, ?)",
            (job.id, number, prompt_id, backend.backend_id, now),
        )
        claimed = replace(job, state=JobState.DISPATCHED, backend_id=backend.backend_id, attempt=number)
        return Assignment(claimed, backend.backend_id, prompt_id)

    def begin(self, job: Job, now: float) -> bool:
        return transition(self._sql, job.id, JobState.RUNNING, attempt=job.attempt, now=now)

    def requeue(self, job: Job, reason: str, now: float) -> bool:
        """Back to the queue: the evidence says that the backend never got the job, or died with it (law 5).

        A job that was to be cancelled has reached its end instead, whoever gives it back.
        """
        if self._job(job.id).cancelling:
            return self.end(job, JobState.CANCELLED, now, outcome=f"cancelled; {reason}")
        moved = transition(self._sql, job.id, JobState.QUEUED, attempt=job.attempt, now=now, data={"reason": reason})
        if moved:
            self._close_attempt(job, reason, now)
        return moved

    def end(
        self,
        job: Job,
        state: JobState,
        now: float,
        *,
        outcome: str,
        failure: Failure | None = None,
        outputs: Sequence[Output] = (),
    ) -> bool:
        """Ends a job, with everything it produced in the same transaction."""
        moved = (
            fail(self._sql, job.id, failure, attempt=job.attempt, now=now)
            if failure
            else transition(
                self._sql, job.id, state, attempt=job.attempt, now=now, data=self._told_of(job, state, now), error=None
            )
        )
        if moved:
            self._close_attempt(job, outcome, now)
            self._add_outputs(job, outputs)
        return moved

    def _told_of(self, job: Job, state: JobState, now: float) -> dict[str, Any]:
        """What the event of its end tells beside the end: how many seconds a backend worked for it, if it is known."""
        if state is not JobState.SUCCEEDED:
            return {}
        stored = self._job(job.id)
        seconds = None if stored.started_at is None else round((stored.executed_at or now) - stored.started_at, 3)
        return {"seconds": seconds, "workflow": job.workflow_id}

    def recent(self, limit: int) -> list[tuple[str, str | None, float]]:
        """Tenant, workflow and backend seconds of those among the last jobs to end that succeeded, earliest first."""
        rows = self._sql.all(
            "SELECT tenant_id, workflow_id, COALESCE(executed_at, finished_at) - started_at FROM "
            "(SELECT * FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT ?) AS ended "
            "WHERE state = 'succeeded' AND started_at IS NOT NULL ORDER BY finished_at",
            (limit,),
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def placed(self) -> list[Assignment]:
        """Every job that a backend has or may have: what a new process must look for."""
        return [Assignment(job_of(row[2:]), row[0], row[1]) for row in self._sql.all(_PLACED)]

    def graph(self, job: Job) -> bytes:
        """The graph of a job, as its bytes came in."""
        row = (
            self._sql.one("SELECT graph FROM job_graphs WHERE job_id = ?", (job.id,))
            if job.workflow_id is None
            else self._sql.one(
                "SELECT graph FROM workflow_versions WHERE workflow_id = ? AND version = ?",
                (job.workflow_id, job.version),
            )
        )
        assert row is not None
        graph: bytes = row[0]
        return graph

    def prune(self, before: float, limit: int) -> int:
        """Forgets jobs that ended before ``before``, with all that belongs to them, and output assets nobody needs."""
        rows = self._sql.all("SELECT id FROM jobs WHERE finished_at < ? ORDER BY finished_at LIMIT ?", (before, limit))
        for (job_id,) in rows:
            assets = self._sql.all("SELECT asset_id FROM outputs WHERE job_id = ? AND asset_id IS NOT NULL", (job_id,))
            for table in ("outputs", "job_events", "attempts", "job_graphs", "idempotency_keys"):
                self._sql.run(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))
            self._sql.run("DELETE FROM jobs WHERE id = ?", (job_id,))
            for asset in assets:
                self._sql.run(
                    "DELETE FROM assets WHERE id = ? AND uploaded = 0 AND NOT EXISTS (SELECT 1 FROM outputs WHERE asset_id = assets.id)",
                    asset,
                )
        return len(rows)

    def orphaned(self, hashes: Iterable[str]) -> list[str]:
        """Those hashes that no asset has."""
        return [hash for hash in hashes if self._sql.one("SELECT 1 FROM assets WHERE hash = ?", (hash,)) is None]

    def _job(self, job_id: str) -> Job:
        row = self._sql.one(f"SELECT {JOB} FROM jobs WHERE id = ?", (job_id,))
        assert row is not None
        return job_of(row)

    def _close_attempt(self, job: Job, outcome: str, now: float) -> None:
        self._sql.run(
            "UPDATE attempts SET ended_at = ?, outcome = ? WHERE job_id = ? AND number = ?",
            (now, outcome, job.id, job.attempt),
        )

    def _add_outputs(self, job: Job, outputs: Sequence[Output]) -> None:
        door = SqlTenantDoor(self._sql, job.tenant_id)
        for position, output in enumerate(outputs):
            asset = door.add_asset(output.asset, uploaded=False) if output.asset else None
            self._sql.run(
                "INSERT INTO outputs (job_id, position, node_id, kind, name, asset_id, value) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (job.id, position, output.node_id, output.kind, output.name, asset.id if asset else None, output.value),
            )
