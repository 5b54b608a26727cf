"""Records to work with, where a test cares about one or two of their fields."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from comfyone.gateway.domain.backends import Backend, BackendState
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.jobs import Job, JobEvent, JobState, NewJob, Passing
from comfyone.gateway.domain.tenants import Tenant
from comfyone.gateway.storage.session import SqlSession
from comfyone.gateway.storage.sqlite import SqliteStore, connect

__all__ = ["TENANT", "backend", "new_job", "open_session", "open_store", "passing", "preview", "queued_job", "seed"]

TENANT = "tenant-1"

_JOB = Job(
    id="job",
    tenant_id=TENANT,
    workflow_id=None,
    version=None,
    state=JobState.QUEUED,
    priority=0,
    labels={},
    needs=None,
    wanted_backend_id=None,
    backend_id=None,
    attempt=0,
    cancelling=False,
    free_cache=False,
    free_gpu=True,
    values=b"{}",
    outputs=(),
    error=None,
    created_at=0.0,
    queued_at=0.0,
    dispatched_at=None,
    started_at=None,
    executed_at=None,
    finished_at=None,
)


def queued_job(job_id: str, **fields: Any) -> Job:
    return structs.replace(_JOB, id=job_id, **fields)


def new_job(**fields: Any) -> NewJob:
    """A submission of a raw graph that has passed every check."""
    job = NewJob(new_id(), None, None, b"{}", ("3",), b"{}", None, 0, False, True, time.time())
    return structs.replace(job, **fields)


def backend(name: str, **fields: Any) -> Backend:
    made = Backend(name, TENANT, name, name, f"http://{name}:8188", BackendState.UP, 1, {}, False, time.time())
    return replace(made, **fields)


def passing(job_id: str = "job", percent: float = 1.0) -> JobEvent:
    """An event that is not kept."""
    return JobEvent(TENANT, job_id, None, Passing.PROGRESS, 0.0, {"percent": percent})


def preview(job_id: str = "job", size: int = 10, tenant: str = TENANT) -> JobEvent:
    """A picture of what is being made."""
    return JobEvent(
        tenant, job_id, None, Passing.PREVIEW, 0.0, {"mime": "image/png", "node_id": "1", "data": bytes(size)}
    )


def seed(session: SqlSession, *backends: str) -> None:
    """A tenant, and backends of it."""
    session.accounts.add_tenant(Tenant(TENANT, TENANT, time.time()))
    for name in backends:
        session.tenant(TENANT).add_backend(backend(name))


@contextmanager
def open_session(path: Path, *backends: str) -> Iterator[SqlSession]:
    """A real database with a tenant and backends, every statement committed by itself."""
    connection = connect(path)
    try:
        session = SqlSession(connection)
        seed(session, *backends)
        yield session
    finally:
        connection.close()


@asynccontextmanager
async def open_store(
    path: Path, publish: Callable[[JobEvent], None] = lambda event: None, *backends: str
) -> AsyncIterator[SqliteStore]:
    """A real store with a tenant and backends."""
    store = SqliteStore(path, publish)
    try:
        await store.write(lambda session: seed(session, *backends))
        yield store
    finally:
        await store.close()
