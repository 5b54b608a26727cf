"""The one door to a tenant's data (law 7): every statement here carries the tenant's id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from comfyone.errors import Fault
from comfyone.gateway.domain.ids import least_id
from comfyone.gateway.domain.jobs import TERMINAL, Job, JobEvent, JobState, NewJob, Origin, Standing, Task, rank_of
from comfyone.gateway.ports import MAX_POSITION, JobView, QueuedJob
from comfyone.gateway.storage.listing import add_metadata, metadata_of, page_of
from comfyone.gateway.storage.origins import (
    add_origin,
    check_prompt_id,
    front_rank,
    job_of_prompt,
    origin_of,
    placed_for,
)
from comfyone.gateway.storage.rows import (
    JOB,
    event_of,
    failure_text,
    job_of,
    json_text,
    needs_text,
    output_of,
)
from comfyone.gateway.storage.sql import Row
from comfyone.gateway.storage.tasks import add_task, at_work, count, tally, tasks_of
from comfyone.gateway.storage.tenant_backends import SqlTenantBackends
from comfyone.gateway.storage.tenant_files import OUTPUTS, SqlTenantFiles
from comfyone.gateway.storage.tenant_workflows import SqlTenantWorkflows
from comfyone.gateway.storage.transitions import add_event, add_usage, error_data, transition

__all__ = ["SqlTenantDoor"]

_AHEAD = (
    "SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE state = 'queued' AND tenant_id = :tenant "
    f"AND (rank, id) < (SELECT rank, id FROM jobs WHERE id = :job) ORDER BY rank, id LIMIT {MAX_POSITION}) AS ahead"
)
_QUEUED = "id, workflow_id, started_at"
_NEW_JOB = (
    "INSERT INTO jobs (id, tenant_id, workflow_id, version, state, priority, rank, labels, needs, wanted_backend_id, attempt, "
    "cancelling, free_cache, free_gpu, input_values, output_nodes, last_event, created_at, queued_at, not_before) "
    "VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, 1, ?, ?, 0)"
)


class SqlTenantDoor(SqlTenantBackends, SqlTenantFiles, SqlTenantWorkflows):
    """See `comfyone.gateway.ports.TenantDoor`: jobs stand here."""

    def replayed(self, key: str, digest: bytes, since: float | None = None) -> str | None:
        """The job that was submitted under this idempotency key, if any; only one that came ``since`` a moment.

        Raises:
            Fault: ``idempotency_mismatch`` when it came with another body.
        """
        row = self._sql.one(
            "SELECT job_id, digest FROM idempotency_keys WHERE tenant_id = ? AND key = ?", (self._tenant, key)
        )
        if row is None or (since is not None and row[0] < least_id(since)):
            return None
        if row[1] != digest:
            raise Fault(
                "idempotency_mismatch", "this Idempotency-Key came before with another body", field="Idempotency-Key"
            )
        return str(row[0])

    def earlier(self, job: NewJob) -> str | None:
        """The job that was submitted before under the same idempotency key; or None, and the key is this one's."""
        if job.key_lifetime is not None:
            self._sql.run(
                "DELETE FROM idempotency_keys WHERE tenant_id = ? AND key = ? AND job_id < ?",
                (self._tenant, job.idempotency_key, least_id(job.created_at - job.key_lifetime)),
            )
        if job.idempotency_key is None or self._sql.run(
            "INSERT INTO idempotency_keys (tenant_id, key, job_id, digest) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (self._tenant, job.idempotency_key, job.id, job.digest),
        ):
            return None
        return self.replayed(job.idempotency_key, job.digest)

    def forget_key(self, job: NewJob) -> None:
        """Takes an idempotency key back from a job that is not accepted after all."""
        self._sql.run("DELETE FROM idempotency_keys WHERE tenant_id = ? AND job_id = ?", (self._tenant, job.id))

    def add_job(self, job: NewJob) -> str:
        """Queues a job; one that no backend can ever run has failed at once. Returns its id."""
        rank = rank_of(job.priority, job.created_at)
        if job.origin and job.origin.front:
            rank = front_rank(self._sql, self._tenant, rank)
        self._sql.run(
            _NEW_JOB,
            (
                job.id,
                self._tenant,
                job.workflow_id,
                job.version,
                job.priority,
                rank,
                json_text(job.labels),
                needs_text(job.needs),
                job.backend_id,
                job.free_cache,
                job.free_gpu,
                job.values,
                json_text(job.outputs),
                job.created_at,
                job.created_at,
            ),
        )
        if job.assets:
            self._use(job)
        if job.metadata:
            add_metadata(self._sql, self._tenant, job.id, job.metadata)
        if job.graph is not None:
            self._sql.run("INSERT INTO job_graphs (job_id, graph) VALUES (?, ?)", (job.id, job.graph))
        if job.origin:
            add_origin(self._sql, self._tenant, job, job.origin)
        if job.task:
            add_task(self._sql, job.id, job.task)
        add_event(self._sql, JobEvent(self._tenant, job.id, 1, JobState.QUEUED, job.created_at, {}))
        if job.failure:
            error, text = error_data(job.failure), failure_text(job.failure)
            transition(
                self._sql, job.id, JobState.FAILED, attempt=0, now=job.created_at, data={"error": error}, error=text
            )
            add_usage(self._sql, job_of(self._job_row(job.id)), job.created_at, state=JobState.FAILED)
        return job.id

    def check_prompt_id(self, prompt_id: str) -> None:
        """Raises:
        Fault: ``conflict`` when a job has this prompt id.
        """
        check_prompt_id(self._sql, self._tenant, prompt_id)

    def origin(self, job_id: str) -> Origin | None:
        """What the caller said of a job in ComfyUI's own words, if it came in them."""
        self._job_row(job_id)
        return origin_of(self._sql, job_id)

    def open_jobs(self) -> list[str]:
        """The ids of the jobs that have not ended, as far as `MAX_POSITION` of those that wait and of those that backends
        have."""
        return [job.id for job in (*self.queue(MAX_POSITION), *self.placed())]

    def placed_for(self, client_id: str) -> list[str]:
        """The ids of the jobs that backends have and whose messages go to this client, the latest last."""
        return placed_for(self._sql, self._tenant, client_id)

    def job_of_prompt(self, prompt_id: str) -> str | None:
        """The id of the job that is shown under a prompt id: the caller's own, or else the job's; None when there is none."""
        return job_of_prompt(self._sql, self._tenant, prompt_id)

    def count_queued(self, most: int) -> int:
        """The jobs that wait; past ``most`` they are not counted any further."""
        row = self._sql.one(
            "SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE state = 'queued' AND tenant_id = ? LIMIT ?)",
            (self._tenant, most),
        )
        assert row is not None
        return int(row[0])

    def submitted_since(self, moment: float, most: int) -> tuple[int, float]:
        """How many jobs came after a moment, counting the latest ``most`` of them at most; and, if it is all of those, when
        the first of them came."""
        values = (self._tenant, least_id(moment), most)
        latest = "FROM jobs WHERE tenant_id = ? AND id > ? ORDER BY id DESC LIMIT ?"
        row = self._sql.one(f"SELECT COUNT(*) FROM (SELECT 1 {latest})", values)
        assert row is not None
        if row[0] < most:
            return int(row[0]), moment
        first = self._sql.one(f"SELECT MIN(created_at) FROM (SELECT created_at {latest})", values)
        return int(row[0]), first[0] if first and first[0] else moment

    def backend_seconds(self, day: str) -> float:
        """The seconds of backend time that ended jobs and attempts of a day (UTC, as 2026-11-22) took."""
        row = self._sql.one(
            "SELECT SUM(backend_seconds) FROM usage WHERE tenant_id = ? AND day = ?", (self._tenant, day)
        )
        return float(row[0] or 0.0) if row else 0.0

    def reprioritise(self, job_id: str, priority: int, now: float) -> None:
        """Gives a job another place in the queue; one that a backend has keeps it for the case that it comes back.

        Raises:
            Fault: ``job_finished`` when it has ended.
        """
        job = job_of(self._job_row(job_id))
        if job.state in TERMINAL:
            raise Fault("job_finished", f"job '{job_id}' has {job.state} already", field="id")
        row = self._sql.one(
            "UPDATE jobs SET priority = ?, rank = ?, last_event = last_event + 1 WHERE id = ? AND tenant_id = ? "
            "RETURNING last_event",
            (priority, rank_of(priority, job.created_at), job_id, self._tenant),
        )
        assert row is not None
        add_event(self._sql, JobEvent(self._tenant, job_id, row[0], "priority", now, {"priority": priority}))

    def _use(self, job: NewJob) -> None:
        """Keeps the files that a job needs from being deleted before it has ended."""
        statement = "INSERT INTO asset_uses (job_id, asset_id) SELECT ?, id FROM assets WHERE id = ? AND tenant_id = ?"
        for asset_id in job.assets:
            if not self._sql.run(statement, (job.id, asset_id, self._tenant)):
                raise Fault("asset_unknown", f"no file '{asset_id}' was uploaded")

    def job(self, job_id: str, *, placed: bool = True) -> JobView:
        """Without ``placed`` it is not looked how many jobs are ahead, which means to count them."""
        row = self._job_row(job_id)
        return self._view(row, self._position(row) if placed else None)

    def queue(self, limit: int) -> list[QueuedJob]:
        """The jobs that wait, the next one first."""
        statement = f"SELECT {_QUEUED} FROM jobs WHERE state = 'queued' AND tenant_id = ? ORDER BY rank, id LIMIT ?"
        return [QueuedJob(*row) for row in self._sql.all(statement, (self._tenant, limit))]

    def placed(self) -> list[QueuedJob]:
        """The jobs that backends have."""
        statement = f"SELECT {_QUEUED} FROM jobs WHERE state IN ('dispatched', 'running') AND tenant_id = ? LIMIT ?"
        return [QueuedJob(*row) for row in self._sql.all(statement, (self._tenant, MAX_POSITION))]

    def jobs(
        self,
        *,
        limit: int,
        offset: int = 0,
        states: Sequence[JobState] = (),
        before: str | None = None,
        metadata: Mapping[str, str] = MappingProxyType({}),
        standings: Sequence[Standing] = (),
    ) -> list[JobView]:
        """Newest first: either from an ``offset`` on, in one of the ``states``; or those that came ``before`` a job, with all
        these labels and one of these ``standings``, which costs the same on every page."""
        if before is not None or metadata or standings:
            ids = page_of(self._sql, self._tenant, limit=limit, before=before, metadata=metadata, standings=standings)
            return self._views(
                self._sql.all(
                    f"SELECT {JOB} FROM jobs WHERE id IN ({', '.join('?' * len(ids))}) AND tenant_id = ? ORDER BY id DESC",
                    (*ids, self._tenant),
                )
            )
        among = f"AND state IN ({', '.join('?' * len(states))}) " if states else ""
        rows = self._sql.all(
            f"SELECT {JOB} FROM jobs WHERE tenant_id = ? {among}ORDER BY id DESC LIMIT ? OFFSET ?",
            (self._tenant, *states, limit, offset),
        )
        return self._views(rows)

    def metadata(self, job_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """The labels that jobs were submitted with, by the job's id; of those that have some."""
        return metadata_of(self._sql, self._tenant, job_ids)

    def graph(self, job_id: str) -> tuple[bytes, bytes]:
        """A job's graph, and the values that it was submitted with."""
        job = job_of(self._job_row(job_id))
        row = self._sql.one("SELECT graph FROM job_graphs WHERE job_id = ?", (job_id,)) or self._sql.one(
            "SELECT graph FROM workflow_versions WHERE workflow_id = ? AND version = ?", (job.workflow_id, job.version)
        )
        assert row is not None
        return row[0], job.values

    def workflow_of(self, job_id: str) -> str | None:
        """The name of the stored workflow that a job runs."""
        row = self._sql.one(
            "SELECT w.name FROM jobs j JOIN workflows w ON w.id = j.workflow_id WHERE j.id = ? AND j.tenant_id = ?",
            (job_id, self._tenant),
        )
        return row[0] if row else None

    def tasks(self, job_ids: Sequence[str]) -> dict[str, Task]:
        """How jobs were asked for, by id."""
        return tasks_of(self._sql, self._tenant, job_ids)

    def count(self, states: Sequence[JobState]) -> int:
        """How many jobs there are in these states, or at all. It may take its time."""
        return count(self._sql, self._tenant, states)

    def tally(self) -> dict[JobState, int]:
        """How many jobs stand how; of those that have ended, all that ever did. It may take its time."""
        return tally(self._sql, self._tenant)

    def at_work(self) -> dict[str, str]:
        """The tenant's job that each backend runs, by the backend's id."""
        return at_work(self._sql, self._tenant)

    def last_event(self, job_id: str) -> int:
        """The number of the latest event of a job."""
        row = self._sql.one("SELECT last_event FROM jobs WHERE id = ? AND tenant_id = ?", (job_id, self._tenant))
        return int(row[0]) if row else 0

    def _views(self, rows: Sequence[Row]) -> list[JobView]:
        positions = self._positions([row[0] for row in rows if row[4] == JobState.QUEUED])
        return [self._view(row, positions.get(row[0])) for row in rows]

    def events(self, job_id: str, after: int) -> list[JobEvent]:
        self._job_row(job_id)
        rows = self._sql.all(
            "SELECT number, type, at, data FROM job_events WHERE job_id = ? AND number > ? ORDER BY number",
            (job_id, after),
        )
        return [event_of(self._tenant, job_id, row) for row in rows]

    def cancel(self, job_id: str, now: float) -> Job:
        """Cancels a job that waits here at once; marks one that a backend has, for the dispatcher to stop it there.

        Raises:
            Fault: ``job_finished`` when it has ended.
        """
        job = job_of(self._job_row(job_id))
        if job.state in TERMINAL:
            raise Fault("job_finished", f"job '{job_id}' has {job.state} already", field="id")
        if job.state is JobState.QUEUED:
            transition(self._sql, job_id, JobState.CANCELLED, attempt=job.attempt, now=now)
            add_usage(self._sql, job, now, state=JobState.CANCELLED)
        self._sql.run("UPDATE jobs SET cancelling = 1 WHERE id = ? AND tenant_id = ?", (job_id, self._tenant))
        return job_of(self._job_row(job_id))

    def _job_row(self, job_id: str) -> Row:
        row = self._sql.one(f"SELECT {JOB} FROM jobs WHERE id = ? AND tenant_id = ?", (job_id, self._tenant))
        if row is None:
            raise Fault("not_found", f"no job '{job_id}'", field="id")
        return row

    def _position(self, row: Row) -> int | None:
        """How many jobs are before this one, if it waits."""
        if row[4] != JobState.QUEUED:
            return None
        ahead = self._sql.one(_AHEAD, {"tenant": self._tenant, "job": row[0]})
        assert ahead is not None
        return int(ahead[0])

    def _positions(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The same of many that wait, in one walk along the queue: to number the rows in SQL takes three times as long."""
        if not job_ids:
            return {}
        statement = "SELECT id FROM jobs WHERE state = 'queued' AND tenant_id = ? ORDER BY rank, id LIMIT ?"
        places = {row[0]: place for place, row in enumerate(self._sql.all(statement, (self._tenant, MAX_POSITION)))}
        return {job_id: places.get(job_id, MAX_POSITION) for job_id in job_ids}

    def _view(self, row: Row, position: int | None) -> JobView:
        job = job_of(row)
        values = {"tenant": self._tenant, "job": job.id}
        outputs = self._sql.all(OUTPUTS, values) if job.state is JobState.SUCCEEDED else []
        backend = self._sql.one("SELECT name FROM backends WHERE id = ?", (job.backend_id,)) if job.backend_id else None
        return JobView(job, backend[0] if backend else None, position, [output_of(output) for output in outputs])
