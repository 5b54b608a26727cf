"""Group commit: whatever commands have gathered run in one transaction, are committed once, and all answered.

While the disk is quick that happens right where the event loop is: two threads that take turns with the interpreter
cost more than the flush itself (measured: 2,200 against 1,700 durable submissions a second, 1,300 against 600 over one
connection). When flushes get slow a thread of ours waits for them, and the loop goes on; the same when somebody else holds
the database, and when nobody waits for the commit.

A commit costs a flush to disk whatever it holds, so the more arrives at once the cheaper each becomes. When a command
raises, all of its batch run once more, each guarded by a savepoint, so that it alone is undone; commands must therefore
do nothing but work on the session. A commit that fails fails every command in it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from loguru import logger

from comfyone.errors import Fault
from comfyone.gateway.domain.jobs import JobEvent
from comfyone.gateway.storage.session import SqlSession

__all__ = ["Writer"]

Command = tuple[Callable[[SqlSession], Any], asyncio.Future[Any]]
Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]
Done = tuple[list[Outcome], list[JobEvent]]

MAX_BATCH = 1000
"""Commands in one transaction: keeps the wait of the first in it bounded."""

SOON = 0.003
"""Seconds that a command may wait for company when nobody waits for it."""

QUICK = 0.003
"""Seconds that a flush to disk may take, on the average of late, for the loop to wait for it."""

PATIENCE = 10.0
"""Seconds in which another process, such as the command line, has to be done with the database."""


class Writer:
    """Runs write commands on ``connection``, which belongs to the writer from now on. ``finish`` has the last word in each
    transaction.

    Commands handed over in one turn of the event loop, or the next, land in the same transaction.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        publish: Callable[[JobEvent], None],
        *,
        finish: Callable[[SqlSession], None] = lambda session: None,
        patience: float = PATIENCE,
    ) -> None:
        self._connection = connection
        self._finish = finish
        self._patience = patience
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._pending: list[Command] = []
        self._urgent = False  # handing over is due
        self._later: asyncio.TimerHandle | None = None
        self._queue: SimpleQueue[Callable[[], Done] | None] = SimpleQueue()
        self._closed = False
        self._free = asyncio.Event()  # the thread has nothing to do; while it has, what comes gathers
        self._free.set()
        self._pace = 0.0
        connection.execute("PRAGMA busy_timeout = 0")
        self._thread = threading.Thread(target=self._work, name="comfyone-writer", daemon=True)
        self._thread.start()

    def submit(self, command: Callable[[SqlSession], Any], *, soon: bool = False) -> asyncio.Future[Any]:
        """Hands a command over. The future ends when it is committed and its events are published, or undone.

        A command that only needs to be committed ``soon`` travels with the next that cannot wait, or after `SOON`.
        """
        if self._closed:
            raise Fault("unavailable", "the gateway is shutting down")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._pending.append((command, future))
        if self._urgent:
            return future
        if not soon:
            self._urgent = True
            self._loop.call_soon(self._gather)
        elif self._later is None:
            self._later = self._loop.call_later(SOON, self._hand_over)
        return future

    def _gather(self) -> None:
        """Lets one more turn of the loop pass, in which whatever else is ready to be read comes along (measured, with 32
        connections: 26 commands in a transaction instead of 12, and a third more submissions a second)."""
        self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if not self._pending or not self._free.is_set():
            return
        urgent, self._urgent = self._urgent, False
        batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
        try:
            done = self._run_all(batch, patience=0.0)
        except _Taken:
            return self._give(partial(self._write, batch))
        if not urgent or self._pace > QUICK:
            return self._give(partial(self._commit, batch, done))
        self._settle(self._commit(batch, done))
        if self._pending and len(batch) == MAX_BATCH:
            self._urgent = True
            self._loop.call_soon(self._hand_over)

    def _give(self, work: Callable[[], Done]) -> None:
        """Has the thread do it. What comes meanwhile gathers."""
        self._free.clear()
        self._queue.put(work)

    async def close(self) -> None:
        """Commits what waits, then closes the connection and ends the thread."""
        self._closed = True
        while self._pending or not self._free.is_set():
            self._hand_over()
            await self._free.wait()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while work := self._queue.get():
            self._loop.call_soon_threadsafe(self._settle_given, work())
        self._connection.close()

    def _write(self, batch: Sequence[Command]) -> Done:
        try:
            return self._commit(batch, self._run_all(batch, self._patience))
        except _Taken:
            return _refused(batch, "another process holds the database")

    def _run_all(self, batch: Sequence[Command], patience: float) -> Done:
        """Runs a batch in a transaction that is then open; or refuses all of it, and there is none.

        Raises:
            _Taken: with nothing done.
        """
        try:
            try:
                return self._run_each(batch, _perform, patience)
            except _Taken:
                raise
            except Exception:  # noqa: BLE001 - a worker loop: undo all, and run all again to see which one it was
                self._rollback()
                return self._run_each(batch, self._perform_guarded, patience)
        except sqlite3.Error as error:
            return self._failed(batch, error)

    def _run_each(
        self, batch: Sequence[Command], perform: Callable[[SqlSession, Command], Outcome], patience: float
    ) -> Done:
        session = SqlSession(self._connection)
        self._begin(patience)
        outcomes = [perform(session, command) for command in batch if not command[1].cancelled()]
        self._finish(session)
        return outcomes, session.events

    def _commit(self, batch: Sequence[Command], done: Done) -> Done:
        if not self._connection.in_transaction:
            return done
        began = time.perf_counter()
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            return self._failed(batch, error)
        self._pace += (time.perf_counter() - began - self._pace) / 8
        return done

    def _failed(self, batch: Sequence[Command], error: sqlite3.Error) -> Done:
        logger.error("a commit of {} commands failed: {}", len(batch), error)
        with suppress(sqlite3.Error):  # what fails here fails again at the next BEGIN, and is answered there
            self._rollback()
        return _refused(batch, str(error))

    def _begin(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() >= deadline:
                    raise _Taken from error
                time.sleep(0.005)

    def _perform_guarded(self, session: SqlSession, command: Command) -> Outcome:
        """What a command raises is its own answer, and undoes nothing else."""
        emitted = len(session.events)
        self._connection.execute("SAVEPOINT command")
        try:
            outcome = _perform(session, command)
        except Exception as error:
            if not self._connection.in_transaction:  # a full disk makes SQLite roll back everything by itself
                raise sqlite3.OperationalError(str(error)) from error
            self._connection.execute("ROLLBACK TO command")
            del session.events[emitted:]
            outcome = command[1], None, error
        self._connection.execute("RELEASE command")
        return outcome

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _settle_given(self, done: Done) -> None:
        self._free.set()
        self._settle(done)
        self._hand_over()

    def _settle(self, done: Done) -> None:
        """Whoever waits goes on after this, before those who only listen."""
        outcomes, events = done
        for future, result, error in outcomes:
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        for event in events:
            self._publish(event)


def _perform(session: SqlSession, command: Command) -> Outcome:
    function, future = command
    return future, function(session), None


def _refused(batch: Sequence[Command], reason: str) -> Done:
    fault = Fault("unavailable", f"the state cannot be written: {reason}", retry_after=5)
    return [(future, None, fault) for _, future in batch], []


class _Taken(Exception):
    """Another process is writing."""
