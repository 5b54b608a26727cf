"""A pool: what waits is placed until nothing more fits, with as few looks as that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace

from comfyone.gateway.dispatch.pool import PAGE, Pool
from comfyone.gateway.dispatch.terms import Terms
from comfyone.gateway.domain.jobs import Assignment
from comfyone.gateway.domain.pace import Pace
from comfyone.gateway.domain.placement import WINDOW, Slot
from comfyone.gateway.storage.sqlite import SqliteStore
from tests.unit.gateway.engine.samples import TENANT, new_job, open_store

MANY = PAGE + WINDOW + 10
ANYTHING = SimpleNamespace(able=lambda job, backend_id: True, needs=lambda *_: None)


class Backends:
    """Links that hold whatever they are given, and the pool that gives it."""

    def __init__(self, store: SqliteStore, *slots: Slot, max_running: int | None = None) -> None:
        self.given: list[Assignment] = []
        self.pool = Pool("pool", store, cast(Any, ANYTHING), Terms(max_running), Pace(), 5.0, self._follow)
        self._links = {slot.backend_id: SimpleNamespace(slot=slot, usable=True) for slot in slots}
        self.pool.links.update(cast(Any, self._links))

    def _follow(self, assignment: Assignment) -> None:
        self.given.append(assignment)
        link = self._links[assignment.backend_id]
        link.slot = replace(link.slot, load=link.slot.load + 1)

    @property
    def counts(self) -> Counter[str]:
        return Counter(assignment.backend_id for assignment in self.given)


@asynccontextmanager
async def waiting(path: Path, *wanted: str | None) -> AsyncIterator[SqliteStore]:
    """A store with a job for each of these wishes."""
    async with open_store(path / "comfyone.db") as store:
        for backend_id in wanted:
            await store.write(
                lambda session, backend_id=backend_id: session.tenant(TENANT).add_job(new_job(backend_id=backend_id))  # type: ignore[misc]
            )
        yield store


async def settled(store: SqliteStore) -> None:
    """Returns when what was handed to the writer, and what that led to, is done."""
    for _ in range(20):
        await store.write(lambda session: None)


async def test_what_is_behind_many_that_no_longer_fit_is_found_without_being_asked_again(tmp_path: Path) -> None:
    async with waiting(tmp_path, *["a"] * MANY, "b", None) as store:
        backends = Backends(store, Slot("a", 0, 2), Slot("b", 0, 2))
        backends.pool.wants(TENANT)
        await settled(store)
        assert backends.counts == {"a": 2, "b": 2}


async def test_no_job_is_given_twice_and_none_past_the_room(tmp_path: Path) -> None:
    async with waiting(tmp_path, *[None] * 10) as store:
        backends = Backends(store, Slot("a", 0, 3), Slot("b", 1, 3))
        for _ in range(5):
            backends.pool.wants(TENANT)
        await settled(store)
        assert backends.counts == {"a": 3, "b": 2}
        assert len({assignment.job.id for assignment in backends.given}) == 5


async def test_no_more_than_may_run_are_given_and_looking_for_more_comes_to_an_end(tmp_path: Path) -> None:
    async with waiting(tmp_path, *[None] * 10) as store:
        backends = Backends(store, Slot("a", 0, 9), max_running=4)
        backends.pool.wants(TENANT)
        await settled(store)
        assert backends.counts == {"a": 4}
