"""Webhooks inside: the verdict on an attempt, messages in the transaction of their event, and a log that stays small."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.errors import Fault
from comfyone.gateway.dialects.comfyone_v1.messages import job_message
from comfyone.gateway.dispatch.deliveries import AT_ONCE_EACH, Deliveries
from comfyone.gateway.domain.evidence import Unreachable
from comfyone.gateway.domain.webhooks import (
    ENDS,
    EVENT_TYPES,
    MAX_RETRY_AFTER,
    Delivery,
    Verdict,
    Webhook,
    check_events,
    new_secret,
    verdict_of,
)
from comfyone.gateway.ports import Reply
from comfyone.gateway.storage.session import SqlSession
from comfyone.gateway.storage.sqlite import SqliteStore
from tests.unit.gateway.engine.samples import TENANT, new_job, seed

WAITS = (5.0, 30.0, 120.0)
HOOK = Webhook("hook", TENANT, "http://example.com/hook", new_secret(), ENDS, True, 0.0)


def judge(attempts: int, code: int | None = 500, **more: Any) -> Verdict:
    return verdict_of(attempts, code, None, **{"now": 1000.0, "chance": 0.0, "retries": WAITS, **more})


def test_the_waits_grow_as_they_are_set_and_then_it_is_given_up() -> None:
    assert [judge(attempts).due_at for attempts in (1, 2, 3, 4, 5)] == [1005.0, 1030.0, 1120.0, None, None]
    assert "given up after 4 attempts" in (judge(4).error or "")
    assert judge(1, retries=()).due_at is None


@given(st.integers(1, 3), st.floats(0, 1), st.none() | st.floats(0, 1e9), st.integers(100, 599) | st.none())
def test_a_verdict_is_one_of_three(attempts: int, chance: float, retry_after: float | None, code: int | None) -> None:
    verdict = judge(attempts, code, chance=chance, retry_after=retry_after)
    good = code is not None and 200 <= code < 300
    assert (verdict.delivered_at is not None) == good == (verdict.error is None)
    assert verdict.gone == (code == 410)
    assert (verdict.due_at is not None) == (not good and not verdict.gone)
    if verdict.due_at is not None:
        least = max(WAITS[attempts - 1], min(retry_after or 0.0, MAX_RETRY_AFTER))
        assert 1000 + least <= verdict.due_at <= 1000 + max(least, WAITS[attempts - 1] * 1.2)


def test_the_types_are_those_that_exist_and_the_ends_by_default() -> None:
    assert check_events([]) == ENDS == ("job.succeeded", "job.failed", "job.cancelled")
    assert check_events(["*", "job.running", "*"]) == ("*", "job.running")
    assert check_events(EVENT_TYPES) == EVENT_TYPES
    for wrong in ("succeeded", "job.", "job.*", ""):
        with pytest.raises(Fault, match=f"'{wrong.replace('*', '.')}'"):
            check_events([wrong])


def test_no_secret_shows() -> None:
    assert HOOK.secret not in repr(HOOK)
    assert len({new_secret() for _ in range(10)}) == 10


def add(session: SqlSession, webhook: Webhook) -> None:
    session.webhooks(TENANT).add(webhook, 20)


@asynccontextmanager
async def telling(path: Path, *webhooks: Webhook) -> AsyncIterator[SqliteStore]:
    """A store that writes messages, with a tenant and its webhooks."""
    store = SqliteStore(path / "db", lambda event: None, job_message)
    try:
        await store.write(lambda session: seed(session))
        for webhook in webhooks:
            await store.write(partial(add, webhook=webhook))
        yield store
    finally:
        await store.close()


def log(webhook_id: str = "hook", limit: int = 100_000) -> Callable[[SqlSession], list[Delivery]]:
    return lambda session: session.webhooks(TENANT).deliveries(webhook_id, limit=limit, offset=0)


def submitted_and_cancelled(session: SqlSession) -> str:
    door = session.tenant(TENANT)
    job_id = door.add_job(new_job())
    door.cancel(job_id, time.time())
    return job_id


async def test_a_message_is_committed_with_its_event_or_not_at_all(tmp_path: Path) -> None:
    def failing(session: SqlSession) -> None:
        submitted_and_cancelled(session)
        raise ValueError

    everything = replace(HOOK, id="all", events=("*",))
    async with telling(tmp_path, HOOK, everything) as store:
        job_id, error = await asyncio.gather(
            store.write(submitted_and_cancelled), store.write(failing), return_exceptions=True
        )
        assert isinstance(error, ValueError)
        assert [(d.type, d.job_id) for d in await store.read(log())] == [("job.cancelled", job_id)]
        assert [d.type for d in await store.read(log("all"))] == ["job.cancelled", "job.queued"]
        (queued,) = await store.read(
            lambda session: session.all("SELECT payload FROM webhook_deliveries WHERE type = 'job.queued'")
        )
        told = json.loads(queued[0])["data"]
        assert (told["state"], "finished_at" in told) == ("queued", False), "nothing of what came after it"


async def test_others_and_those_that_are_disabled_are_told_nothing(tmp_path: Path) -> None:
    async with telling(tmp_path, replace(HOOK, enabled=False)) as store:
        await store.write(lambda session: session.webhooks("other").add(replace(HOOK, id="theirs"), 20))
        await store.write(submitted_and_cancelled)
        assert await store.read(lambda session: session.all("SELECT * FROM webhook_deliveries")) == []


async def test_the_log_is_bounded(tmp_path: Path) -> None:
    def many(session: SqlSession) -> None:
        for number in range(60):
            session.webhooks(TENANT).send("hook", "webhook.test", b"{}", 100.0 + number)
        for due in session.outbox.due(130.0, 100, under_way=[], busy=[]):
            session.outbox.settle(due, Verdict(1, delivered_at=131.0))

    def prune(session: SqlSession, before: float, keep: int, waiting: int) -> int:
        return session.outbox.prune("hook", before, keep=keep, waiting=waiting, limit=100)

    async with telling(tmp_path, HOOK) as store:
        await store.write(many)
        assert await store.write(lambda session: prune(session, 0.0, 31, 29)) == 0
        assert await store.write(lambda session: prune(session, 0.0, 10, 29)) == 21
        entries = await store.read(log())
        assert [d.created_at for d in entries if d.due_at is None] == [130.0 - n for n in range(10)]
        assert len([d for d in entries if d.due_at]) == 29, "what waits is not forgotten"
        assert await store.write(lambda session: prune(session, 126.0, 10, 29)) == 5
        assert await store.write(lambda session: prune(session, 126.0, 100, 20)) == 9
        entries = await store.read(log())
        assert [d.created_at for d in entries if d.due_at] == [159.0 - n for n in range(20)], "the newest wait on"
        assert {d.error for d in entries if d.due_at is None} == {None, "given up: too many messages wait"}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110 - what it waits for is somebody else's
            await asyncio.sleep(0.01)


class Endpoints:
    """The way out, to endpoints by their host: each answers when it is let."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.open: dict[str, asyncio.Event] = {}
        self.most: dict[str, int] = {}
        self._now: dict[str, int] = {}

    async def check(self, url: str) -> None:
        pass

    def fetch(self, url: str) -> Any:
        raise AssertionError("nobody fetches")

    async def post(self, url: str, body: bytes, headers: Any) -> Reply:
        self._now[url] = self._now.get(url, 0) + 1
        self.most[url] = max(self.most.get(url, 0), self._now[url])
        try:
            await self.open[url].wait()
        finally:
            self._now[url] -= 1
        self.sent.append((url, headers["webhook-id"]))
        if "silent" in url:
            raise Unreachable("it said nothing")
        return Reply(204, None)


async def test_each_endpoint_goes_at_its_own_pace(tmp_path: Path) -> None:
    slow, quick = replace(HOOK, id="slow", url="slow"), replace(HOOK, id="quick", url="quick")
    out = Endpoints()
    out.open = {"slow": asyncio.Event(), "quick": asyncio.Event()}
    out.open["quick"].set()
    async with telling(tmp_path, slow, quick) as store:
        deliveries = Deliveries(store, out, WAITS)

        def many(session: SqlSession) -> None:
            for name in ("slow", "quick"):
                for _ in range(100):
                    session.webhooks(TENANT).send(name, "webhook.test", b"{}", time.time())

        await store.write(many)
        deliveries.start()
        try:
            await until(lambda: len(out.sent) >= 100)
            assert {url for url, _ in out.sent} == {"quick"}
            assert out.most["slow"] == AT_ONCE_EACH
            out.open["slow"].set()
            await until(lambda: len(out.sent) >= 200)
            await until(lambda: deliveries.idle)
        finally:
            await deliveries.stop()
        assert len(out.sent) == len(set(out.sent)) == 200, "each once"
        entries = [*await store.read(log("slow")), *await store.read(log("quick"))]
        assert {entry.due_at for entry in entries} == {None}


async def test_a_webhook_that_is_disabled_while_a_message_is_under_way_gets_no_other(tmp_path: Path) -> None:
    silent = replace(HOOK, id="silent", url="silent")
    out = Endpoints()
    out.open = {"silent": asyncio.Event()}
    async with telling(tmp_path, silent) as store:
        deliveries = Deliveries(store, out, (0.0,) * 100)
        await store.write(lambda session: session.webhooks(TENANT).send("silent", "webhook.test", b"{}", time.time()))
        deliveries.start()
        try:
            await until(lambda: out.most)
            await store.write(lambda session: session.webhooks(TENANT).replace(replace(silent, enabled=False)))
            out.open["silent"].set()
            await until(lambda: deliveries.idle)
        finally:
            await deliveries.stop()
        (entry,) = await store.read(log("silent"))
        assert (entry.attempts, entry.due_at, entry.error) == (1, None, "it said nothing")
        assert len(out.sent) == 1
