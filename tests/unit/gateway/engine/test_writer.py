"""The writer: whatever waits is committed at once, what fails is undone alone, and a full disk is survived."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfyone.errors import Fault
from comfyone.gateway.domain.jobs import JobEvent
from comfyone.gateway.storage import writer as writer_room
from comfyone.gateway.storage.session import SqlSession
from comfyone.gateway.storage.sqlite import SqliteStore, StateError, connect
from comfyone.gateway.storage.writer import Writer
from tests.unit.gateway.engine.samples import TENANT, new_job, open_store


def insert(key: str, value: str = "") -> Any:
    return lambda session: session.run("INSERT INTO meta (key, value) VALUES (?, ?)", (key, value))


def keys(session: SqlSession) -> list[str]:
    return [row[0] for row in session.all("SELECT key FROM meta ORDER BY key")]


class Commits:
    """Counts the commits that a database has seen, by what the connection is asked to run."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.count = 0
        connection.set_trace_callback(self._trace)

    def _trace(self, statement: str) -> None:
        self.count += statement == "COMMIT"


async def test_commands_of_one_turn_of_the_loop_share_one_commit_and_keep_their_order(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    commits, writer = Commits(connection), Writer(connection, lambda event: None)
    await asyncio.gather(*(writer.submit(insert(f"{number:03}")) for number in range(200)))
    assert commits.count == 1
    rows = await writer.submit(lambda session: session.all("SELECT key FROM meta ORDER BY rowid"))
    assert [row[0] for row in rows] == [f"{number:03}" for number in range(200)]
    await writer.close()


async def test_after_a_batch_that_was_just_full_the_next_command_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_room, "MAX_BATCH", 3)
    connection = connect(tmp_path / "db")
    commits, writer = Commits(connection), Writer(connection, lambda event: None)
    await asyncio.gather(*(writer.submit(insert(f"{number}")) for number in range(3)))
    await asyncio.sleep(0.01)
    await asyncio.wait_for(writer.submit(insert("next")), 10)
    await asyncio.wait_for(asyncio.gather(*(writer.submit(insert(f"more {number}")) for number in range(7))), 10)
    assert commits.count == 1 + 1 + 3
    await writer.close()


async def test_a_commit_for_which_nobody_waits_does_not_hold_up_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_room, "QUICK", 60.0)  # however slow the disk of this machine is
    connection = connect(tmp_path / "db")
    writer, committed_by = Writer(connection, lambda event: None), list[str]()
    connection.set_trace_callback(
        lambda statement: committed_by.append(threading.current_thread().name) if statement == "COMMIT" else None
    )
    await writer.submit(insert("soon"), soon=True)
    await writer.submit(insert("now"))
    await asyncio.gather(writer.submit(insert("also soon"), soon=True), writer.submit(insert("also now")))
    here = threading.current_thread().name
    assert committed_by == ["comfyone-writer", here, here]
    await writer.close()


async def test_while_another_process_writes_the_loop_goes_on_and_what_waits_is_committed_at_once(
    tmp_path: Path,
) -> None:
    connection, other = connect(tmp_path / "db"), connect(tmp_path / "db")
    commits, writer = Commits(connection), Writer(connection, lambda event: None)
    other.execute("BEGIN IMMEDIATE")
    futures = []
    for number in range(200):
        futures.append(writer.submit(insert(f"{number:03}")))
        if number % 50 == 0:
            await asyncio.sleep(0.01)  # several turns of the loop, several batches
    assert not any(future.done() for future in futures)
    other.execute("ROLLBACK")
    other.close()
    await asyncio.gather(*futures)
    assert commits.count == 2  # the batch that had to wait, and everything that came after it
    rows = await writer.submit(lambda session: session.all("SELECT key FROM meta ORDER BY rowid"))
    assert [row[0] for row in rows] == [f"{number:03}" for number in range(200)]
    await writer.close()


@pytest.mark.parametrize(("free", "extended"), [(10**12, True), (50_000_000, False)])
async def test_the_log_takes_its_room_beforehand_only_where_there_is_plenty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, extended: bool
) -> None:
    monkeypatch.setattr("comfyone.gateway.storage.sqlite.disk_usage", lambda _: SimpleNamespace(free=free))
    async with open_store(tmp_path / "db") as store:
        await store.write(insert("one"))
        assert ((tmp_path / "db-wal").stat().st_size > 30_000_000) == extended
        assert await store.read(keys) == ["one"]


async def test_what_an_earlier_process_left_in_the_log_outlives_its_extension(tmp_path: Path) -> None:
    left = connect(tmp_path / "db")
    left.execute("INSERT INTO meta (key, value) VALUES ('left', '')")
    async with open_store(tmp_path / "db") as store:
        left.execute("INSERT INTO meta (key, value) VALUES ('beside', '')")
        assert await store.read(keys) == ["beside", "left"]
    left.close()


async def test_a_slow_disk_is_waited_for_by_a_thread_and_the_order_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_room, "QUICK", 60.0)
    threads: list[str] = []

    def slow(statement: str) -> None:
        if statement == "COMMIT":
            threads.append(threading.current_thread().name)
            time.sleep(0.05)

    async with open_store(tmp_path / "db") as store:
        store._writer._connection.set_trace_callback(slow)
        await store.write(insert("one"))
        monkeypatch.setattr(writer_room, "QUICK", 0.001)  # the flush of 0.05 s has been noticed
        first = store.submit(insert("two"))
        await asyncio.sleep(0.01)
        second = store.submit(insert("three"))
        third = store.submit(insert("four"), soon=True)
        await second
        assert first.done()
        await third
        assert await store.read(keys) == ["four", "one", "three", "two"]
    # while the thread had the second, the others gathered, and went together
    assert threads == [threading.main_thread().name, "comfyone-writer", "comfyone-writer"]


async def test_a_disk_that_is_quick_again_is_waited_for_where_the_loop_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_room, "QUICK", 1.0)  # what the disk of any test is
    threads: list[str] = []

    def note(statement: str) -> None:
        if statement == "COMMIT":
            threads.append(threading.current_thread().name)

    async with open_store(tmp_path / "db") as store:
        store._writer._connection.set_trace_callback(note)
        store._writer._pace = 4.0
        while len(threads) < 200 and threading.main_thread().name not in threads:
            await store.write(insert(str(len(threads))))
    assert threads[0] == "comfyone-writer"
    assert threads[-1] == threading.main_thread().name


async def test_a_command_that_fails_is_undone_alone_and_its_events_are_not_told(tmp_path: Path) -> None:
    told: list[JobEvent] = []

    def half(session: SqlSession) -> None:
        insert("half")(session)
        session.tenant(TENANT).add_job(new_job(id="half"))
        raise ValueError("on purpose")

    async with open_store(tmp_path / "db", told.append) as store:
        before = store.submit(insert("before"))
        failing = store.submit(half)
        after = store.submit(lambda session: session.tenant(TENANT).add_job(new_job(id="after")))
        results = await asyncio.gather(before, failing, after, return_exceptions=True)
        assert isinstance(results[1], ValueError)
        assert await store.read(keys) == ["before"]
        assert [event.job_id for event in told] == ["after"]
        with pytest.raises(Fault, match="no job 'half'"):
            await store.read(lambda session: session.tenant(TENANT).job("half"))


async def test_events_are_told_only_once_they_are_committed_and_before_the_answer(tmp_path: Path) -> None:
    order: list[str] = []

    def publish(event: JobEvent) -> None:
        other = connect(tmp_path / "db", read_only=True)
        order.append(f"told, {other.execute('SELECT COUNT(*) FROM jobs').fetchone()[0]} committed")
        other.close()

    async with open_store(tmp_path / "db", publish) as store:
        await store.write(lambda session: session.tenant(TENANT).add_job(new_job()))
        order.append("answered")
    assert order == ["told, 1 committed", "answered"]


async def test_a_full_disk_fails_every_command_of_the_commit_and_the_writer_works_again_after(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    told: list[JobEvent] = []
    writer = Writer(connection, told.append)
    futures = [
        writer.submit(insert("small")),
        writer.submit(lambda session: session.tenant(TENANT).add_job(new_job())),
        writer.submit(insert("large", "x" * size * 10)),
    ]
    results = await asyncio.gather(*futures, return_exceptions=True)
    for result in results:
        assert isinstance(result, Fault), results
        assert (result.slug, bool(result.retry_after)) == ("unavailable", True)
    assert told == []
    await writer.submit(insert("works again"))
    assert await writer.submit(keys) == ["works again"]
    connection.execute("PRAGMA max_page_count = 100000")
    await writer.submit(insert("large", "x" * size * 10))
    await writer.close()


async def test_a_database_that_somebody_else_holds_is_a_fault_and_not_the_end(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    writer, other = Writer(connection, lambda event: None, patience=0.05), connect(tmp_path / "db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Fault, match="another process holds the database"):
        await writer.submit(insert("a"))
    other.execute("ROLLBACK")
    other.close()
    await writer.submit(insert("b"))
    assert await writer.submit(keys) == ["b"]
    await writer.close()


async def test_a_command_whose_caller_has_gone_is_not_run(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as store:
        abandoned = store.submit(insert("abandoned"))
        abandoned.cancel()
        await store.write(insert("wanted"))
        assert await store.read(keys) == ["wanted"]


async def test_a_command_that_can_wait_is_committed_soon_and_never_overtakes(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as store:
        await store.submit(insert("1"), soon=True)  # nothing else comes that would take it along
        first, second = store.submit(insert("2"), soon=True), store.submit(insert("3"))
        await second
        assert first.done()
        rows = await store.read(lambda session: session.all("SELECT key FROM meta ORDER BY rowid"))
        assert [row[0] for row in rows] == ["1", "2", "3"]


async def test_closing_commits_what_waits_and_then_takes_nothing_more(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "db", lambda event: None)
    futures = [store.submit(insert("a")), store.submit(insert("b"), soon=True)]
    await store.close()
    await asyncio.gather(*futures)
    with pytest.raises(Fault, match="shutting down"):
        store.submit(insert("c"))
    again = connect(tmp_path / "db", read_only=True)
    assert keys(SqlSession(again)) == ["a", "b"]
    again.close()


async def test_a_reader_sees_what_is_committed_and_cannot_write(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as store:
        await store.write(insert("a"))
        assert await store.read(keys) == ["a"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await store.read(insert("b"))
        assert await store.read(keys) == ["a"]


def test_a_state_that_is_no_database_of_ours_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to be looked at" * 100)
    with pytest.raises(StateError, match="text cannot be opened"):
        connect(tmp_path / "text")
    later = sqlite3.connect(tmp_path / "later")
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(StateError, match="version 99"):
        connect(tmp_path / "later")
