"""Of a job that is forgotten nothing stays."""

from __future__ import annotations

import time
from pathlib import Path

from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.jobs import JobState
from comfyone.gateway.ports import Offer
from comfyone.gateway.storage.session import SqlSession
from tests.unit.gateway.engine.samples import TENANT, new_job, open_session
from tests.unit.gateway.engine.test_costs import BOX

LOGS = {"webhook_deliveries"}
"""What tells of jobs and is pruned by rules of its own."""


def tables_of_jobs(session: SqlSession) -> set[str]:
    tables = {row[0] for row in session.all("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {
        table for table in tables - LOGS if "job_id" in [row[1] for row in session.all(f"PRAGMA table_info({table})")]
    }


def rows(session: SqlSession, table: str, job_id: str) -> int:
    [(count,)] = session.all(f"SELECT COUNT(*) FROM {table} WHERE job_id = ?", (job_id,))
    return int(count)


def fill(session: SqlSession, table: str, job_id: str) -> None:
    """Writes a row about a job."""
    columns = [row[1] for row in session.all(f"PRAGMA table_info({table})")]
    known = {"job_id": job_id, "tenant_id": TENANT}
    values = [known.get(column, 77) for column in columns]
    session.run(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", values)


def test_a_job_is_forgotten_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    now, job = time.time(), new_job()
    with open_session(tmp_path / "db", BOX.name) as session:
        session.tenant(TENANT).add_job(job)
        tables = tables_of_jobs(session)
        for table in tables:
            if not rows(session, table, job.id):
                fill(session, table, job.id)
        [waiting] = session.engine.waiting(TENANT, Offer(now, [BOX.backend_id], []), None, 10)
        assignment = session.engine.claim(waiting, BOX, new_id(), now)
        assert assignment is not None
        session.engine.begin(assignment.job, now)
        session.engine.end(assignment.job, JobState.SUCCEEDED, now, outcome="succeeded")
        assert {"hidden_prompts", "outputs"} <= {table for table in tables if rows(session, table, job.id)}
        assert session.engine.prune(now + 1, 10) == 1
        assert {table for table in tables if rows(session, table, job.id)} == set()
