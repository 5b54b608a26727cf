"""A whole batch in one call, in memory or in a folder from which it can be resumed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from comfyone.batch.aio import AsyncQueueManager
from comfyone.batch.books import Bookkeeping
from comfyone.batch.folder import BatchFolder
from comfyone.batch.jobs import Job
from comfyone.batch.ports import AsyncClient, Client
from comfyone.batch.progress import showing
from comfyone.batch.queue import QueueManager
from comfyone.batch.sweep import Planned
from comfyone.errors import ValidationError
from comfyone.transport.retry import RetryPolicy
from comfyone.utils.logging import Log

__all__ = ["run", "run_async"]

Folder: TypeAlias = str | os.PathLike[str] | None


def run(
    client: Client | Sequence[Client],
    jobs: Iterable[Planned] | None = None,
    folder: Folder = None,
    *,
    max_concurrent: int = 3,
    retry_on_failure: bool = True,
    max_retries: int = 3,
    backoff: RetryPolicy | None = None,
    timeout: float | None = None,
    progress: bool = True,
    log: Log | None = None,
) -> list[Job]:
    """Run jobs and wait for all of them.

        run(client, sweep(workflow, {"3.seed": range(100)}), "owls")

    With a folder, results are saved there, and the batch can be killed at any moment: run again, it goes on. What is done is
    not run again; a prompt that was sent is looked for at its server before it is sent again; jobs that failed or were
    cancelled are tried anew.

    Args:
        client: A client of one server, or several of them.
        jobs: What to run. Without them, what the folder was begun with.
        folder: Where the results and the manifest go.
        timeout: Seconds to wait for all of them.
        progress: Whether to show how far it is, where there is a terminal.

    Returns:
        The jobs in the order in which they were given, whichever way they ended.

    Raises:
        BatchChangedError: The folder has a job of that name with another workflow.
        BatchBusyError: Another process works in the folder.
        QueueTimeoutError: The time is over. Run it again to go on.
    """
    with _kept(folder) as keeper, ExitStack() as shown:
        queue = QueueManager(
            client, max_concurrent, retry_on_failure, max_retries, backoff=backoff, keeper=keeper, log=log
        )
        found = _admitted(queue, jobs, keeper)
        with queue:
            shown.enter_context(showing(queue, done_before=_finished_before(queue, found), quiet=not progress))
            queue.wait_for_completion(timeout)
    return found


async def run_async(
    client: AsyncClient | Sequence[AsyncClient],
    jobs: Iterable[Planned] | None = None,
    folder: Folder = None,
    *,
    max_concurrent: int = 3,
    retry_on_failure: bool = True,
    max_retries: int = 3,
    backoff: RetryPolicy | None = None,
    timeout: float | None = None,
    progress: bool = True,
    log: Log | None = None,
) -> list[Job]:
    """`run` with asynchronous clients."""
    with _kept(folder) as keeper, ExitStack() as shown:
        queue = AsyncQueueManager(
            client, max_concurrent, retry_on_failure, max_retries, backoff=backoff, keeper=keeper, log=log
        )
        found = _admitted(queue, jobs, keeper)
        async with queue:
            shown.enter_context(showing(queue, done_before=_finished_before(queue, found), quiet=not progress))
            await queue.wait_for_completion(timeout)
    return found


@contextmanager
def _kept(folder: Folder) -> Iterator[BatchFolder | None]:
    if folder is None:
        yield None
        return
    with BatchFolder(folder) as keeper:
        yield keeper


def _admitted(queue: Bookkeeping[Any], jobs: Iterable[Planned] | None, keeper: BatchFolder | None) -> list[Job]:
    """Add what is to be run to the queue, and give all jobs, those that were done before among them."""
    if keeper is None:
        if jobs is None:
            raise ValidationError("there is nothing to run", hint="pass jobs, or the folder of a batch that was begun")
        return queue.add_planned(jobs)
    queue.on("job_failed", keeper.failed)
    queue.on("job_cancelled", keeper.cancelled)
    notes = keeper.manifest.plan(keeper.planned() if jobs is None else jobs)
    before = {note.job_id: job for note in notes if (job := keeper.finished(note))}
    left = [note for note in notes if note.job_id not in before]
    added = queue.add_planned(Planned(note.job_id, note.workflow, note.metadata) for note in left)
    for job, note in zip(added, left, strict=True):
        if note.prompt_id:
            queue.look_first(job, note.prompt_id, note.server)
    found = before | {job.job_id: job for job in added}
    return [found[note.job_id] for note in notes]


def _finished_before(queue: Bookkeeping[Any], found: list[Job]) -> int:
    return len(found) - len(queue.get_all_jobs())
