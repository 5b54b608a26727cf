"""`QueueManager`: jobs for one server or several, carried by threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from comfyone.batch.books import Bookkeeping
from comfyone.batch.errand import Ask, Done, Errand, Step, Watch, errand
from comfyone.batch.ledger import Assignment, Event
from comfyone.batch.ports import Client, Keeper
from comfyone.errors import ComfyOneError
from comfyone.transport.retry import RetryPolicy
from comfyone.utils.logging import Log

__all__ = ["QueueManager"]

_GLANCE = 0.5  # seconds; on Windows, Ctrl-C gets through only between waits


@dataclass(eq=False)
class _Crew:
    """The workers of one `start`. Who is told to stop finishes its job."""

    threads: list[threading.Thread] = field(default_factory=list)
    stopped: bool = False


class QueueManager(Bookkeeping[Client]):
    """A queue of jobs over one ComfyUI server or several.

        queue = QueueManager(client)
        queue.add_job("owl", workflow)
        queue.start()
        queue.wait_for_completion()

    It may be used from any number of threads. Its workers end with the program, finished or not.

    Args:
        client: A client of one server, or several of them: each job goes to the server that is least busy.
        max_concurrent: How many jobs each server has at once.
        retry_on_failure: Whether a job that failed is tried again.
        max_retries: How often, beyond the first time. What is wrong with a workflow is never tried again.
        backoff: How long to wait for a server that is away.
        keeper: Writes down what happens, and keeps results; see `run`.
        log: Where the queue logs.
    """

    def __init__(
        self,
        client: Client | Sequence[Client],
        max_concurrent: int = 3,
        retry_on_failure: bool = True,
        max_retries: int = 3,
        *,
        backoff: RetryPolicy | None = None,
        keeper: Keeper | None = None,
        log: Log | None = None,
    ) -> None:
        super().__init__(client, max_concurrent, retry_on_failure, max_retries, backoff=backoff, keeper=keeper, log=log)
        self._changed = threading.Condition(self._guard)
        self._crew: _Crew | None = None
        self._speaker: int | None = None  # the thread that calls callbacks

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(wait=error is None)

    @property
    def is_running(self) -> bool:
        """Whether there are workers."""
        return self._crew is not None

    def start(self, num_workers: int | None = None) -> None:
        """Begin to work. On a queue that works already, this only logs a warning.

        Args:
            num_workers: How many jobs run at once, in all; otherwise ``max_concurrent`` for each server.
        """
        with self._changed:
            if self._crew is not None:
                self._log.warning("the queue runs already")
                return
            number = self._workers(num_workers)
            crew = self._crew = _Crew()
            crew.threads = [
                threading.Thread(target=self._work, args=(crew,), name=f"comfyone-queue-{index + 1}", daemon=True)
                for index in range(number)
            ]
        for thread in crew.threads:
            thread.start()

    def stop(self, wait: bool = True) -> None:
        """Let workers finish the jobs that they have, and go. What waits stays in the queue.

        Args:
            wait: Whether to wait until they are gone.
        """
        with self._changed:
            crew, self._crew = self._crew, None
            if crew is None:
                return
            crew.stopped = True
            self._changed.notify_all()
        for thread in crew.threads if wait else ():
            if thread is not threading.current_thread():  # a callback may stop the queue
                thread.join()

    def wait_for_completion(self, timeout: float | None = None) -> None:
        """Wait until every job has ended, and ``queue_empty`` has been told.

        Args:
            timeout: Seconds; None waits for as long as it takes.

        Raises:
            QueueTimeoutError: The time is over. It is a builtin ``TimeoutError`` too.
            QueueStoppedError: There are jobs, no workers, and no timeout.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._ledger.empty:
                if timeout is None and (error := self._nobody_works()):
                    raise error
                self._wait(deadline, timeout)
            self._ledger.tell_emptiness()
        self._tell()
        with self._changed:
            while self._speaker not in (None, threading.get_ident()):
                self._wait(deadline, timeout)

    def _wait(self, deadline: float | None, timeout: float | None) -> None:
        left = _GLANCE if deadline is None else deadline - time.monotonic()
        if left <= 0:
            assert timeout is not None
            raise self._timed_out(timeout)
        self._changed.wait(min(left, _GLANCE))

    def cancel_job(self, job_id: str) -> bool:
        """Cancel a job; if it is at a server, that is told to stop exactly its prompt. A cancelled job stays cancelled.

        Returns:
            False when there is no such job, or it has ended already.
        """
        cancelled, client, prompt_id = self._cancel(job_id)
        if cancelled:
            self._tell()
        if client is not None:
            try:
                client.cancel_prompt(prompt_id)
            except (ComfyOneError, OSError) as error:
                self._unstopped(job_id, error)
        return cancelled

    # --- workers

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work(self, crew: _Crew) -> None:
        while (task := self._next_task(crew)) is not None:
            self._tell()
            self._settle(task, self._outcome(task))
            self._tell()

    def _next_task(self, crew: _Crew) -> Assignment | None:
        with self._changed:
            while not crew.stopped:
                if (task := self._take()) is not None:
                    return task
                self._changed.wait(self._patience())
        return None

    def _outcome(self, task: Assignment) -> Done | BaseException | None:
        client = self._clients[task.server.index]
        try:
            return _carried_out(errand(task, self, self._keeper), client)
        except Exception as error:  # noqa: BLE001  the worker's loop: whatever a client raises is the end of one job only
            return error

    def _tell(self) -> None:
        """Call callbacks for what has happened, unless another thread is about it: then that one goes on with ours."""
        with self._changed:
            if self._speaker is not None:
                return
            self._speaker = threading.get_ident()
        try:
            while (event := self._event_to_tell()) is not None:
                for callback in tuple(self._listeners[event[0]]):
                    try:
                        callback(event[1])
                    except Exception as error:  # noqa: BLE001  somebody else's code, and no reason to stop
                        self._complain(event[0], callback, error)
        finally:
            self._fall_silent()  # after a KeyboardInterrupt, somebody else tells the rest

    def _event_to_tell(self) -> Event | None:
        with self._changed:
            event = self._next_event()
            if event is None:
                self._fall_silent()  # under one guard: what happens from now on is told by whoever did it
            return event

    def _fall_silent(self) -> None:
        with self._changed:
            if self._speaker == threading.get_ident():
                self._speaker = None
                self._changed.notify_all()


def _carried_out(flow: Errand, client: Client) -> Done | None:
    """Do an errand, step by step."""
    try:
        step = next(flow)
        while True:
            try:
                value = _do(step, client)
            except Exception as error:  # noqa: BLE001  the errand decides what a failure means
                step = flow.throw(error)
            else:
                step = flow.send(value)
    except StopIteration as end:
        done: Done | None = end.value
        return done


def _do(step: Step, client: Client) -> Any:
    if isinstance(step, Ask):
        return step.request(client)
    if isinstance(step, Watch):
        return step.prompt.result()
    return step.work()
