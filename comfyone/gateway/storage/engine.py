"""What the dispatcher reads and changes, for all tenants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from comfyone.gateway.domain.backends import Backend
from comfyone.gateway.domain.files import Output
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.jobs import Assignment, Failure, Job, JobState, Kind, Needs, Origin
from comfyone.gateway.domain.placement import Slot
from comfyone.gateway.ports import Offer
from comfyone.gateway.storage.origins import origin_of
from comfyone.gateway.storage.rows import (
    BACKEND,
    FIRST_EXPIRY,
    JOB,
    NO_RESULT,
    UNNAMED,
    UNUSED,
    backend_of,
    failure_text,
    job_of,
    json_text,
    kind_of,
    needs_text,
)
from comfyone.gateway.storage.sql import Sql
from comfyone.gateway.storage.tenant_door import SqlTenantDoor
from comfyone.gateway.storage.transitions import add_usage, error_data, transition

__all__ = ["SqlEngine"]

_PLACED = (
    "SELECT a.backend_id, a.prompt_id, "
    + ", ".join(f"j.{column.strip()}" for column in JOB.split(","))
    + " FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.number = j.attempt WHERE j.state IN ('dispatched', 'running')"
)

_KIND = "(COALESCE(needs, ''), labels, COALESCE(wanted_backend_id, ''))"

KEPT_CONDITIONS = 100
"""Changes of a backend's condition that are kept."""

_OF_JOBS = (
    "outputs",
    "job_events",
    "attempts",
    "job_graphs",
    "job_metadata",
    "idempotency_keys",
    "job_origins",
    "job_tasks",
    "hidden_prompts",
)
"""What is kept of a job as long as the job; what is kept of one that has not ended goes when it ends."""


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

    def waiting(self, tenant_id: str, offer: Offer, after: Job | None, limit: int) -> list[Job]:
        """The next of a tenant's queue, behind ``after``, that may be taken now and are not out of reach of the offer."""
        beyond = [value for kind in offer.beyond for value in _kind_values(kind)]
        values = [tenant_id, offer.now, *(() if after is None else (after.id,))]
        reach = f"AND (wanted_backend_id IS NULL OR wanted_backend_id IN ({_marks(offer.backend_ids)})) "
        if offer.beyond:
            reach += f"AND {_KIND} NOT IN (VALUES {_marks(offer.beyond, '(?, ?, ?)')}) "
        rows = self._sql.all(
            f"SELECT {JOB} FROM jobs WHERE state = 'queued' AND tenant_id = ? AND not_before <= ? "
            f"{'AND (rank, id) > (SELECT rank, id FROM jobs WHERE id = ?) ' if after else ''}{reach}ORDER BY rank, id LIMIT ?",
            (*values, *offer.backend_ids, *beyond, limit),
        )
        return [job_of(row) for row in rows]

    def has_waiting(self, tenant_id: str) -> bool:
        return bool(self._sql.one("SELECT 1 FROM jobs WHERE state = 'queued' AND tenant_id = ? LIMIT 1", (tenant_id,)))

    def running(self, tenant_id: str) -> int:
        """The jobs of a tenant that backends have."""
        row = self._sql.one(
            "SELECT COUNT(*) FROM jobs WHERE tenant_id = ? AND state IN ('dispatched', 'running')", (tenant_id,)
        )
        assert row is not None
        count: int = row[0]
        return count

    def tried(self, job: Job) -> frozenset[str]:
        """The backends that had a job before."""
        if job.attempt == 0:
            return frozenset()
        rows = self._sql.all("SELECT DISTINCT backend_id FROM attempts WHERE job_id = ?", (job.id,))
        return frozenset(row[0] for row in rows)

    def learn_needs(self, job: Job, needs: Needs) -> None:
        """Notes what a job needs, once it is known."""
        self._sql.run("UPDATE jobs SET needs = ? WHERE id = ?", (needs_text(needs), job.id))

    def delayed(self, now: float) -> list[tuple[str, float]]:
        """The tenants of jobs that may not begin before a time to come, and that time."""
        rows = self._sql.all("SELECT tenant_id, not_before FROM jobs WHERE state = 'queued' AND not_before > ?", (now,))
        return [(row[0], row[1]) for row in rows]

    def kinds(self, tenant_id: str, limit: int) -> list[tuple[Kind, float]]:
        """The kinds among the first ``limit`` jobs of a tenant's queue, and since when the oldest of each waits."""
        rows = self._sql.all(
            "SELECT needs, labels, wanted_backend_id, MIN(queued_at) FROM (SELECT needs, labels, wanted_backend_id, queued_at "
            "FROM jobs WHERE state = 'queued' AND tenant_id = ? ORDER BY rank, id LIMIT ?) AS head "
            "GROUP BY needs, labels, wanted_backend_id",
            (tenant_id, limit),
        )
        return [(kind_of(row[:3]), row[3]) for row in rows]

    def of_kind(self, tenant_id: str, kind: Kind, before: float, limit: int) -> list[Job]:
        """Jobs of a kind that came into a tenant's queue before a moment."""
        rows = self._sql.all(
            f"SELECT {JOB} FROM jobs WHERE state = 'queued' AND tenant_id = ? AND queued_at < ? AND {_KIND} = (?, ?, ?) "
            "ORDER BY rank, id LIMIT ?",
            (tenant_id, before, *_kind_values(kind), limit),
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

    def requeue(
        self,
        job: Job,
        reason: str,
        now: float,
        *,
        not_before: float = 0.0,
        fatal: bool = False,
        started: float | None = None,
    ) -> bool:
        """Back to the queue: the evidence says that the backend never got the job, or died with it (law 5).

        A job that was to be cancelled has reached its end instead, whoever gives it back. So has one that is ``fatal`` to
        the second backend: it would only kill a third.
        """
        if self._job(job.id).cancelling:
            return self.end(job, JobState.CANCELLED, now, outcome=f"cancelled; {reason}", started=started)
        if fatal and (killed := self._killed(job)):
            text = f"{killed + 1} backends died or got stuck with it; the last: {reason}"
            poison = Failure("poison", text, hint="run it alone on a backend that you watch, with smaller values")
            return self.end(job, JobState.FAILED, now, outcome=reason, failure=poison, started=started, fatal=True)
        moved = transition(
            self._sql,
            job.id,
            JobState.QUEUED,
            attempt=job.attempt,
            now=now,
            data={"reason": reason},
            not_before=not_before,
        )
        if moved:
            self._close_attempt(job, reason, now, fatal=fatal)
            add_usage(self._sql, job, now, seconds=_seconds(started, now))
        return moved

    def _killed(self, job: Job) -> int:
        """The backends but this one that died, or got stuck, with a job."""
        row = self._sql.one(
            "SELECT COUNT(DISTINCT backend_id) FROM attempts WHERE job_id = ? AND fatal = 1 AND backend_id <> ?",
            (job.id, job.backend_id),
        )
        assert row is not None
        count: int = row[0]
        return count

    def end(
        self,
        job: Job,
        state: JobState,
        now: float,
        *,
        outcome: str,
        failure: Failure | None = None,
        outputs: Sequence[Output] = (),
        started: float | None = None,
        executed: float | None = None,
        fatal: bool = False,
    ) -> bool:
        """Ends a job, with everything it produced in the same transaction. ``started`` and ``executed`` are when the
        backend began it and was done, as far as it did."""
        seconds = _seconds(started, executed or now)
        data: dict[str, Any] = {}
        if state is JobState.SUCCEEDED:
            data = {"seconds": round(seconds, 3) if started else None, "workflow": job.workflow_id}
        if failure:
            data["error"] = error_data(failure)
        moved = transition(
            self._sql,
            job.id,
            state,
            attempt=job.attempt,
            now=now,
            data=data,
            error=failure_text(failure),
            started=started,
            executed=executed,
        )
        if moved:
            self._close_attempt(job, outcome, now, fatal=fatal)
            self._add_outputs(job, outputs, now)
            size = sum(output.asset.size for output in outputs if output.asset)
            add_usage(self._sql, job, now, state=state, seconds=seconds, size=size)
        return moved

    def closed(self, prompt_ids: Iterable[str]) -> list[str]:
        """Those prompts that are ours, and whose attempt is over: nothing of them should run any more."""
        return [
            prompt_id
            for prompt_id in prompt_ids
            if self._sql.one("SELECT 1 FROM attempts WHERE prompt_id = ? AND ended_at IS NOT NULL", (prompt_id,))
        ]

    def assignment(self, job_id: str) -> Assignment | None:
        """A job that a backend has or may have, as it stands now."""
        row = self._sql.one(f"{_PLACED} AND j.id = ?", (job_id,))
        return Assignment(job_of(row[2:]), row[0], row[1]) if row else None

    def note_condition(self, backend_id: str, condition: str, reason: str | None, now: float) -> None:
        """Writes down what became of a backend; the latest `KEPT_CONDITIONS` are kept."""
        self._sql.run(
            "INSERT INTO backend_history (id, backend_id, at, condition, reason) VALUES (?, ?, ?, ?, ?)",
            (new_id(), backend_id, now, condition, reason),
        )
        self._sql.run(
            "DELETE FROM backend_history WHERE backend_id = :backend AND id <= (SELECT id FROM backend_history "
            "WHERE backend_id = :backend ORDER BY id DESC LIMIT 1 OFFSET :kept)",
            {"backend": backend_id, "kept": KEPT_CONDITIONS},
        )

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
        """Every job that a backend has or may have, in the order of coming: what a new process must look for."""
        found = [Assignment(job_of(row[2:]), row[0], row[1]) for row in self._sql.all(_PLACED)]
        return sorted(found, key=lambda assignment: assignment.job.id)  # SQL would walk along all jobs for that order

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

    def origin(self, job: Job) -> Origin | None:
        """What the caller said of a job besides its graph. Only one that brought its graph can have said anything."""
        return origin_of(self._sql, job.id) if job.workflow_id is None else None

    def prune(self, before: float, limit: int) -> int:
        """Forgets jobs that ended before ``before``, with all that belongs to them, and output assets nobody needs."""
        rows = self._sql.all("SELECT id FROM jobs WHERE finished_at < ? ORDER BY finished_at LIMIT ?", (before, limit))
        for (job_id,) in rows:
            assets = self._sql.all("SELECT asset_id FROM outputs WHERE job_id = ? AND asset_id IS NOT NULL", (job_id,))
            for table in _OF_JOBS:
                self._sql.run(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))
            self._sql.run("DELETE FROM jobs WHERE id = ?", (job_id,))
            for asset in assets:
                # What a waiting job still needs goes with the uploads that have expired.
                self._sql.run(
                    f"UPDATE assets SET expires_at = 0 WHERE id = ? AND uploaded = 0 AND {NO_RESULT} AND {UNNAMED}",
                    asset,
                )
                self._sql.run(f"DELETE FROM assets WHERE id = ? AND expires_at = 0 AND {UNUSED}", asset)
        return len(rows)

    def expiring(self, now: float, limit: int) -> list[str]:
        """Assets whose time is over, and which no job needs any more."""
        rows = self._sql.all(
            f"SELECT id FROM assets WHERE expires_at <= ? AND {UNUSED} ORDER BY expires_at LIMIT ?", (now, limit)
        )
        return [row[0] for row in rows]

    def expire(self, asset_ids: Iterable[str], now: float) -> None:
        """Forgets those of the assets that are still `expiring`, and the names whose time is over; one that is also a job's
        result, or has a name that keeps it, stays as long as that."""
        for asset_id in asset_ids:
            still = f"WHERE id = ? AND expires_at <= ? AND {UNUSED}"
            self._sql.run(
                f"DELETE FROM folders WHERE asset_id IN (SELECT id FROM assets {still}) AND (uploaded = 1 OR expires_at <= ?)",
                (asset_id, now, now),
            )
            self._sql.run(f"DELETE FROM assets {still} AND {NO_RESULT} AND {UNNAMED}", (asset_id, now))
            self._sql.run(f"UPDATE assets SET uploaded = 0, expires_at = {FIRST_EXPIRY} {still}", (asset_id, now))

    def orphaned(self, hashes: Iterable[str]) -> list[str]:
        """Those hashes that no asset has."""
        return [hash for hash in hashes if self._sql.one("SELECT 1 FROM assets WHERE hash = ?", (hash,)) is None]

    def _job(self, job_id: str) -> Job:
        row = self._sql.one(f"SELECT {JOB} FROM jobs WHERE id = ?", (job_id,))
        assert row is not None
        return job_of(row)

    def _close_attempt(self, job: Job, outcome: str, now: float, *, fatal: bool) -> None:
        self._sql.run(
            "UPDATE attempts SET ended_at = ?, outcome = ?, fatal = ? WHERE job_id = ? AND number = ?",
            (now, outcome, int(fatal), job.id, job.attempt),
        )

    def _add_outputs(self, job: Job, outputs: Sequence[Output], now: float) -> None:
        door = SqlTenantDoor(self._sql, job.tenant_id)
        for position, output in enumerate(outputs):
            asset = output.asset and door.add_asset(
                replace(output.asset, created_at=now), uploaded=False, content=output.content
            )
            self._sql.run(
                "INSERT INTO outputs (job_id, position, node_id, kind, name, asset_id, value, file) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job.id,
                    position,
                    output.node_id,
                    output.kind,
                    output.name,
                    asset.id if asset else None,
                    output.value,
                    json_text(output.file) if output.file else None,
                ),
            )


def _kind_values(kind: Kind) -> tuple[str, str, str]:
    return needs_text(kind.needs) or "", json_text(dict(kind.labels)), kind.wanted_backend_id or ""


def _marks(values: Sequence[object], mark: str = "?") -> str:
    return ", ".join([mark] * len(values))


def _seconds(began: float | None, ended: float) -> float:
    return max(0.0, ended - began) if began else 0.0
