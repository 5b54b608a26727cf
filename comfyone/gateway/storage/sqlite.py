"""The embedded store: one SQLite file in WAL mode, one writer thread, reads in place."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from asyncio import Future
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from shutil import disk_usage
from typing import TypeVar

from comfyone.errors import ComfyOneError
from comfyone.gateway.domain.jobs import JobEvent
from comfyone.gateway.storage.outbox import Compose, tell
from comfyone.gateway.storage.session import SqlSession
from comfyone.gateway.storage.writer import Writer

__all__ = ["SCHEMA_VERSION", "SqliteStore", "StateError", "connect", "transaction"]

T = TypeVar("T")

SCHEMA_VERSION = 4
BUSY_SECONDS = 10
CACHE_KIB = 64 * 1024
CHECKPOINT_PAGES = 8000
"""Pages of the log after which it is written back into the database: more, and rarer, costs less in all."""

KEYED = {
    "job_events",
    "attempts",
    "outputs",
    "idempotency_keys",
    "asset_uses",
    "job_metadata",
    "usage",
    "folders",
    "job_origins",
}
"""Tables that lie in the order of their keys, instead of having an index for them beside: a commit costs by the pages that it
touches, and every job writes to these."""

_CREATED = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)

LOGGED_PAGE = 4096 + 24
"""Bytes of a page in the log."""

PLENTY = 3
"""How many times what the log takes beforehand must be free on the disk."""


class StateError(ComfyOneError):
    """The state folder cannot be used: not writable, no database of ours, or of another version."""


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Opens the database, and makes it when it is new.

    Raises:
        StateError: naming the file, and what is wrong with it.
    """
    try:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            _configure(connection, path, read_only=read_only)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StateError(
            f"the state in {path} cannot be opened: {error}", hint="choose a folder you may write to with --state-dir"
        ) from error
    return connection


def _configure(connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # an answered submission outlives a power cut, not only a crash
    connection.execute("PRAGMA foreign_keys = OFF")  # the doors keep the references; checking each row would only cost
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")  # SQLite's own 2 MB hold a queue of some thousand jobs
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
    if not read_only:
        _prepare(connection, path)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in files(__package__).joinpath("schema.sql").read_text().split(";\n"):
                keyed = _CREATED.search(statement)
                connection.execute(f"{statement} WITHOUT ROWID" if keyed and keyed[1] in KEYED else statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    finally:
        connection.execute("COMMIT")
    if version not in (0, SCHEMA_VERSION):
        raise StateError(
            f"the state in {path} is of version {version}, this program reads version {SCHEMA_VERSION}",
            hint="run the version of comfyone that wrote it, or choose another --state-dir",
        )


@contextmanager
def transaction(path: Path) -> Iterator[SqlSession]:
    """A transaction of one's own, for administration beside a running gateway. Commits at the end, or not at all."""
    connection = connect(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield SqlSession(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    finally:
        connection.close()


class SqliteStore:
    """See `comfyone.gateway.ports.Store`.

    Reads run where they are called: each is bounded and indexed, and takes tens of microseconds, less than a change of
    threads would. In WAL mode they never wait for the writer.
    """

    def __init__(self, path: Path, publish: Callable[[JobEvent], None], compose: Compose | None = None) -> None:
        """``compose`` makes the messages to webhooks; without it there are none."""
        finish = partial(tell, compose=compose) if compose else _nothing_more
        connection = connect(path)
        _extend_log(path)
        self._writer = Writer(connection, publish, finish=finish)
        self._reader = connect(path, read_only=True)
        self._path = path

    def submit(self, command: Callable[[SqlSession], T], *, soon: bool = False) -> Future[T]:
        return self._writer.submit(command, soon=soon)

    async def write(self, command: Callable[[SqlSession], T]) -> T:
        return await self.submit(command)

    async def read(self, query: Callable[[SqlSession], T]) -> T:
        self._reader.execute("BEGIN")  # one snapshot for all statements, and one look at what the writer has changed
        try:
            return query(SqlSession(self._reader))
        finally:
            self._reader.execute("COMMIT")

    async def survey(self, query: Callable[[SqlSession], T]) -> T:
        return await asyncio.to_thread(self._survey, query)

    def _survey(self, query: Callable[[SqlSession], T]) -> T:
        connection = connect(self._path, read_only=True)
        try:
            connection.execute("BEGIN")
            return query(SqlSession(connection))
        finally:
            connection.close()

    async def close(self) -> None:
        await self._writer.close()
        self._reader.close()


def _extend_log(path: Path) -> None:
    """Gives the log the size that it will have in the end. A flush that need not note a new size takes a third less time
    (measured: 0.58 ms against 0.85), and what stands behind the last entry means nothing to SQLite. Where there is little
    room the log grows as it is needed."""
    missing = CHECKPOINT_PAGES * LOGGED_PAGE - _size(log := path.with_name(f"{path.name}-wal"))
    if 0 < missing * PLENTY < disk_usage(path.parent).free:
        with suppress(OSError), log.open("ab") as file:  # at its end, wherever that is: somebody else may be writing
            file.write(bytes(missing))
            file.flush()
            os.fsync(file.fileno())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _nothing_more(_: SqlSession) -> None:
    pass
