"""The history of ComfyUI's clients: however much of it is hidden, nobody waits while the rest is looked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from comfyone.gateway.domain.jobs import JobState
from comfyone.gateway.domain.tenants import ALL_BUT_ADMIN, Principal
from comfyone.gateway.ports import Blobs, Dispatch
from comfyone.gateway.services import prompts
from comfyone.gateway.services.prompts import Prompts
from comfyone.gateway.storage.session import SqlSession
from comfyone.gateway.storage.sqlite import SqliteStore
from comfyone.gateway.storage.transitions import transition
from tests.unit.gateway.engine.samples import TENANT, new_job, open_store

WHO = Principal(TENANT, "key", ALL_BUT_ADMIN)


class Watched:
    """A store; ``ways`` says how it was read."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.ways: list[str] = []

    async def read(self, query: Callable[[SqlSession], Any]) -> Any:
        self.ways.append("read")
        return await self._store.read(query)

    async def survey(self, query: Callable[[SqlSession], Any]) -> Any:
        self.ways.append("survey")
        return await self._store.survey(query)

    async def write(self, change: Callable[[SqlSession], Any]) -> Any:
        return await self._store.write(change)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Watched]:
    async with open_store(tmp_path / "db") as opened:
        yield Watched(opened)


def ended(session: SqlSession, *, at: float) -> str:
    job_id = session.tenant(TENANT).add_job(new_job())
    transition(session, job_id, JobState.CANCELLED, attempt=0, now=at)
    session.run("UPDATE jobs SET started_at = 1.0, finished_at = ? WHERE id = ?", (at, job_id))
    return job_id


async def test_what_is_not_among_the_last_jobs_is_looked_for_beside_the_loop(
    store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "REACH", 3)
    service = Prompts(cast(Any, store), cast(Blobs, None), cast(Dispatch, None))

    async def told(limit: int, offset: int | None = None) -> tuple[list[str], list[str]]:
        store.ways.clear()
        return [prompt.id for prompt in await service.history(WHO, limit, offset)], list(store.ways)

    ids = [await store.write(lambda session: ended(session, at=10.0)) for _ in range(3)]
    assert await told(64) == (ids, ["read"]), "that is all there is"
    ids += [await store.write(lambda session: ended(session, at=20.0)) for _ in range(2)]
    assert await told(3) == (ids[2:], ["read"])
    assert await told(64) == (ids, ["read", "survey"])
    assert await told(2, 1) == (ids[1:3], ["survey"])
    await store.write(lambda session: session.prompts(TENANT).clear(15.0))
    assert await told(2) == (ids[3:], ["read"])
    assert await told(3) == (ids[3:], ["read", "survey"])
    assert await told(0) == ([], ["read"])
