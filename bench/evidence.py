"""What a gateway has written, asked of its database and its folder, never of itself."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bench.servers import Server

__all__ = ["check_results", "ended", "jobs", "wait_for_ends"]

PAUSE = 0.01
PATIENCE = 300.0
"""Seconds without any end after which something is wrong."""


def jobs(server: Server) -> int:
    """How many jobs there are."""
    with _reading(server) as connection:
        (held,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
    return int(held)


def ended(server: Server, since: float) -> int:
    """How many jobs have ended since a time."""
    with _reading(server) as connection:
        return _ended(connection, since)


def wait_for_ends(server: Server, since: float, count: int) -> None:
    """Returns once so many jobs have ended since a time.

    Raises:
        RuntimeError: Nothing has ended for long.
    """
    with _reading(server) as connection:
        seen, moved = 0, time.monotonic()
        while (now := _ended(connection, since)) < count:
            if now > seen:
                seen, moved = now, time.monotonic()
            elif time.monotonic() - moved > PATIENCE:
                raise RuntimeError(f"{seen} of {count} jobs ended, and no further one in {PATIENCE:g} s")
            time.sleep(PAUSE)


def check_results(server: Server, since: float, count: int) -> None:
    """What ended since a time is so many jobs, all succeeded, each with its one file, whose bytes lie where they
    belong.

    Raises:
        RuntimeError: It is not so; the message says what is.
    """
    statement = (
        "SELECT j.state, a.hash, a.size, length(a.content) FROM jobs j LEFT JOIN outputs o ON o.job_id = j.id "
        "LEFT JOIN assets a ON a.id = o.asset_id WHERE j.finished_at > ?"
    )
    with _reading(server) as connection:
        rows = connection.execute(statement, (since,)).fetchall()
    states = Counter(state for state, *_ in rows)
    if states != {"succeeded": count}:
        raise RuntimeError(f"of {count} jobs there should be one result each, but there are {dict(states)}")
    for _, hash_, size, held in rows:
        file = server.state / "files" / hash_[:2] / hash_
        if size != (held or (file.exists() and file.stat().st_size)):
            raise RuntimeError(f"a job has succeeded, but its result is neither in the database nor at {file}")


def _ended(connection: sqlite3.Connection, since: float) -> int:
    (count,) = connection.execute("SELECT count(*) FROM jobs WHERE finished_at > ?", (since,)).fetchone()
    return int(count)


@contextmanager
def _reading(server: Server) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as connection:
        yield connection
