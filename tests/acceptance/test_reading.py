"""Lists and single jobs are read so that nobody else waits, and in one look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import requests

from comfyone.emulator import Sandbox
from comfyone.gateway.domain.jobs import JobState
from comfyone.gateway.ports import JobView
from comfyone.gateway.storage.session import SqlSession
from comfyone.gateway.storage.sqlite import SqliteStore
from tests.acceptance.comfyui.stage import open_stage
from tests.graphs import tiny


async def others_go_on(looking: Coroutine[Any, Any, Any]) -> bool:
    """Whether the event loop does something else while it is looked."""
    went_on = asyncio.Event()
    asyncio.get_running_loop().call_soon(went_on.set)
    await looking
    return went_on.is_set()


async def test_whoever_looks_far_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        tenant = await stage.tenant()
        principal = await stage.gateway.authenticator.authenticate(tenant.key)
        for service in (stage.gateway.services.jobs, stage.gateway.services.tasks):
            assert await others_go_on(service.page(principal, limit=9, offset=0, states=[JobState.FAILED]))
            assert await others_go_on(service.page(principal, limit=9, offset=300_000, states=[]))
            assert not await others_go_on(service.page(principal, limit=9, offset=0, states=[])), "that takes no time"
        assert await others_go_on(stage.gateway.services.prompts.history(principal, 9, 300_000))


async def test_a_task_that_is_pruned_while_it_is_read_is_there_or_not(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage(tmp_path) as stage:
        tenant = await stage.tenant("acme", sandbox)
        job = await tenant.submit(tiny(), outputs=("3",))
        await tenant.ended(job)
        read = SqliteStore.read

        async def read_and_prune(store: SqliteStore, query: Callable[[SqlSession], Any]) -> Any:
            found = await read(store, query)
            if isinstance(found, JobView) or (isinstance(found, tuple) and isinstance(found[0], JobView)):
                await store.write(lambda session: session.engine.prune(1e12, 100))
            return found

        monkeypatch.setattr(SqliteStore, "read", read_and_prune)

        def ask() -> requests.Response:
            return requests.get(
                f"{stage.url}/api/v1/tasks/{job}", headers={"Authorization": f"Bearer {tenant.key}"}, timeout=10
            )

        first, second = await asyncio.to_thread(ask), await asyncio.to_thread(ask)
        assert (first.status_code, first.json()["id"]) == (200, job)
        assert second.status_code == 404
