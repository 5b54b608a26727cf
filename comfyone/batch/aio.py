"""`AsyncQueueManager`: jobs for one server or several, carried by tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import isawaitable
from types import TracebackType
from typing import Any, Self

from comfyone.batch.books import Bookkeeping
from comfyone.batch.errand import Ask, Done, Errand, Step, Watch, errand
from comfyone.batch.ledger import Assignment
from comfyone.batch.ports import AsyncClient, Keeper
from comfyone.errors import ComfyOneError
from comfyone.transport.retry import RetryPolicy
from comfyone.utils.files import in_thread
from comfyone.utils.logging import Log

__all__ = ["AsyncQueueManager"]


@dataclass(eq=False)
class _Crew:
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    stopped: bool = False


class AsyncQueueManager(Bookkeeping[AsyncClient]):
    """`QueueManager` for asyncio: the same, and what waits is awaited.

    Use it in one event loop. Callbacks may be coroutine functions.
    """

    def __init__(
        self,
        client: AsyncClient | Sequence[AsyncClient],
        max_concurrent: int = 3,
        retry_on_failure: bool = True,
        max_retries: int = 3,
        *,
        backoff: RetryPolicy | None = None,
        keeper: Keeper | None = None,
        log: Log | None = None,
    ) -> None:
        super().__init__(client, max_concurrent, retry_on_failure, max_retries, backoff=backoff, keeper=keeper, log=log)
        self._changed = asyncio.Event()
        self._crew: _Crew | None = None
        self._speaker: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        crew = self._crew
        await self.stop(wait=error is None)
        if error is not None and crew is not None:
            await _cancelled(crew.tasks)

    @property
    def is_running(self) -> bool:
        """Whether there are workers."""
        return self._crew is not None

    def start(self, num_workers: int | None = None) -> None:
        """Begin to work, in the running loop. On a queue that works already, this only logs a warning.

        Args:
            num_workers: How many jobs run at once, in all; otherwise ``max_concurrent`` for each server.
        """
        if self._crew is not None:
            self._log.warning("the queue runs already")
            return
        number, loop = self._workers(num_workers), asyncio.get_running_loop()
        crew = self._crew = _Crew()
        crew.tasks = [loop.create_task(self._work(crew), name=f"comfyone-queue-{index + 1}") for index in range(number)]

    async def stop(self, wait: bool = True) -> None:
        """Let workers finish the jobs that they have, and go. What waits stays in the queue.

        Args:
            wait: Whether to wait until they are gone.
        """
        crew, self._crew = self._crew, None
        if crew is None:
            return
        crew.stopped = True
        self._wake()
        others = [task for task in crew.tasks if task is not asyncio.current_task()]
        if wait and others:
            await asyncio.wait(others)

    async def wait_for_completion(self, timeout: float | None = None) -> None:
        """Wait until every job has ended, and ``queue_empty`` has been told.

        Args:
            timeout: Seconds; None waits for as long as it takes.

        Raises:
            QueueTimeoutError: The time is over. It is a builtin ``TimeoutError`` too.
            QueueStoppedError: There are jobs, no workers, and no timeout.
        """
        try:
            async with asyncio.timeout(timeout) as limit:
                await self._wait_for_emptiness(forever=timeout is None)
        except TimeoutError:
            if not limit.expired():
                raise
            assert timeout is not None
            raise self._timed_out(timeout) from None

    async def _wait_for_emptiness(self, *, forever: bool) -> None:
        while not self._ledger.empty:
            if forever and (error := self._nobody_works()):
                raise error
            await self._changed.wait()
        self._ledger.tell_emptiness()
        await self._tell()
        while self._speaker not in (None, asyncio.current_task()):
            await self._changed.wait()

    async def cancel_job(self, job_id: str) -> bool:
        """Cancel a job; if it is at a server, that is told to stop exactly its prompt. A cancelled job stays cancelled.

        Returns:
            False when there is no such job, or it has ended already.
        """
        cancelled, client, prompt_id = self._cancel(job_id)
        if cancelled:
            await self._tell()
        if client is not None:
            try:
                await client.cancel_prompt(prompt_id)
            except (ComfyOneError, OSError) as error:
                self._unstopped(job_id, error)
        return cancelled

    # --- workers

    def _wake(self) -> None:
        # Whoever waits now is woken; whoever waits from now on waits for the next change.
        self._changed.set()
        self._changed = asyncio.Event()

    async def _work(self, crew: _Crew) -> None:
        while (task := await self._next_task(crew)) is not None:
            await self._carry(task)
            await self._tell()

    async def _next_task(self, crew: _Crew) -> Assignment | None:
        while not crew.stopped:
            if (task := self._take()) is not None:
                return task
            changed = self._changed
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await changed.wait()
        return None

    async def _carry(self, task: Assignment) -> None:
        client, outcome = self._clients[task.server.index], None
        try:
            await self._tell()
            outcome = await _carried_out(errand(task, self, self._keeper), client)
        except asyncio.CancelledError:
            self._prompts.pop(task.job, None)
            self._ledger.put_back(task)
            self._wake()
            raise
        except Exception as error:  # noqa: BLE001  the worker's loop: whatever a client raises is the end of one job only
            self._settle(task, error)
        else:
            self._settle(task, outcome)

    async def _tell(self) -> None:
        """Call callbacks for what has happened, unless another task is about it: then that one goes on with ours."""
        if self._speaker is not None:
            return
        self._speaker = asyncio.current_task()
        try:
            while (event := self._next_event()) is not None:
                for callback in tuple(self._listeners[event[0]]):
                    try:
                        answer = callback(event[1])
                        if isawaitable(answer):
                            await answer
                    except Exception as error:  # noqa: BLE001  somebody else's code, and no reason to stop
                        self._complain(event[0], callback, error)
        finally:
            self._speaker = None
            self._wake()


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _carried_out(flow: Errand, client: AsyncClient) -> Done | None:
    """Do an errand, step by step."""
    try:
        step = next(flow)
        while True:
            try:
                value = await _do(step, client)
            except Exception as error:  # noqa: BLE001  the errand decides what a failure means
                step = flow.throw(error)
            else:
                step = flow.send(value)
    except StopIteration as end:
        done: Done | None = end.value
        return done


async def _do(step: Step, client: AsyncClient) -> Any:
    if isinstance(step, Ask):
        return await step.request(client)
    if isinstance(step, Watch):
        return await _end_of(step.prompt)
    return await in_thread(step.work)  # a folder is closed only after what was being written there


async def _end_of(prompt: Any) -> Any:
    """Wait for a prompt. That it was cancelled is a failure; that our own task is being cancelled goes through."""
    try:
        return await prompt
    except asyncio.CancelledError:
        own = asyncio.current_task()
        if own is None or own.cancelling():
            raise
        raise CancelledError from None
