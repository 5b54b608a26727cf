"""What queues of both colours have in common: everything that neither blocks nor awaits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

from comfyone.batch.jobs import Job, JobStatus
from comfyone.batch.ledger import EVENTS, Assignment, Event, Ledger, Retries
from comfyone.batch.ports import Keeper
from comfyone.batch.sweep import Grid, Planned, Source, sweep
from comfyone.errors import ComfyOneError, ValidationError
from comfyone.transport.retry import RetryPolicy
from comfyone.utils.logging import Log, default_logger

__all__ = ["Bookkeeping", "Callback", "QueueStoppedError", "QueueTimeoutError"]

C = TypeVar("C")
Callback = Callable[[Any], Any]
"""Called with the `Job`, or with None for ``queue_empty``."""


class QueueTimeoutError(ComfyOneError, TimeoutError):
    """We stopped waiting for a queue. Its jobs go on."""


class QueueStoppedError(ComfyOneError):
    """Jobs wait in a queue that nobody works on, so waiting for their end would never end."""


class Bookkeeping(Generic[C]):
    """A queue without its workers.

    Args:
        client: A client of one server, or several of them: each job goes to the server that is least busy.
        max_concurrent: How many jobs each server has at once.
        retry_on_failure: Whether a job that failed is tried again.
        max_retries: How often, beyond the first time.
        backoff: How long to wait for a server that is away.
        keeper: Writes down what happens, and keeps results.
        log: Where the queue logs.

    Raises:
        ValidationError: No client was given, or a number makes no sense.
    """

    def __init__(
        self,
        client: C | Sequence[C],
        max_concurrent: int = 3,
        retry_on_failure: bool = True,
        max_retries: int = 3,
        *,
        backoff: RetryPolicy | None = None,
        keeper: Keeper | None = None,
        log: Log | None = None,
    ) -> None:
        several = isinstance(client, list | tuple)
        self._clients = cast("tuple[C, ...]", tuple(cast("Sequence[C]", client)) if several else (client,))
        if not self._clients:
            raise ValidationError("a queue needs a client", hint="pass one, or a list of them")
        self.max_concurrent = _from_one("max_concurrent", max_concurrent)
        retries = Retries(retry_on_failure, max_retries)
        self._retries = replace(retries, backoff=backoff) if backoff else retries
        self._ledger = Ledger([_name(each, index) for index, each in enumerate(self._clients)], self._retries)
        self._keeper = keeper
        self._log = log or default_logger()
        self._guard = threading.RLock()  # held for every look into the books
        self._prompts: dict[Job, tuple[Assignment, Any]] = {}  # what may be at a server now
        self._listeners: dict[str, list[Callback]] = {event: [] for event in EVENTS}
        self._paused = False

    # --- jobs

    def add_job(self, job_id: str, workflow: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> Job:
        """Take a job in, with a copy of its workflow: what you change in yours afterwards is another job's.

        Raises:
            DuplicateJobError: There is a job of that name. It is a builtin ``ValueError`` too.
            ValidationError: The name is no text, or the workflow no object.
        """
        with self._guard:
            job = self._ledger.add(job_id, workflow, metadata, time.time())
        self._wake()
        return job

    def add_jobs_from_list(self, workflows: Iterable[Mapping[str, Any]], job_prefix: str = "job") -> list[Job]:
        """Take a job in for each workflow, named ``{prefix}_{index}_{unix seconds}``; all of them or none.

        Raises:
            ValidationError: One of them is no object.
        """
        with self._guard:
            jobs = self._ledger.add_list(workflows, job_prefix, time.time())
        self._wake()
        return jobs

    def map(self, workflow: Source, grid: Grid, *, mode: str = "product", prefix: str = "") -> list[Job]:
        """Take a job in for each combination of parameters, all of them or none; see `sweep`.

        Raises:
            ValidationError: A parameter names no input, or there is a job of that name.
        """
        return self.add_planned(sweep(workflow, grid, mode=mode, prefix=prefix))

    def add_planned(self, jobs: Iterable[Planned]) -> list[Job]:
        """Take jobs in as `sweep` plans them, all of them or none.

        Raises:
            DuplicateJobError: There is a job of that name.
        """
        with self._guard:
            added = self._ledger.add_all(((each.job_id, each.workflow, each.metadata) for each in jobs), time.time())
        self._wake()
        return added

    def look_first(self, job: Job, prompt_id: str, server: str | None) -> None:
        """Have a waiting job look for a prompt that may be at a server already, before it sends one.

        Args:
            server: The address of that server. With one server only, that one is asked, however it is called now.
        """
        with self._guard:
            names = [each.name for each in self._ledger.servers.all]
            if server not in names and len(names) > 1:
                self._log.warning(f"job '{job.job_id}' may run at {server}, which is none of this queue's servers")
                return
            self._ledger.trace(job, names.index(server) if server in names else 0, prompt_id)

    def get_job(self, job_id: str) -> Job | None:
        """The job of that name."""
        with self._guard:
            return self._ledger.job(job_id)

    def get_job_status(self, job_id: str) -> JobStatus | None:
        """How the job of that name stands."""
        job = self.get_job(job_id)
        return job.status if job else None

    def get_all_jobs(self) -> list[Job]:
        """All jobs, in the order in which they were added."""
        with self._guard:
            return self._ledger.jobs()

    def get_jobs_by_status(self, status: JobStatus | str) -> list[Job]:
        """The jobs that stand so."""
        with self._guard:
            return self._ledger.jobs(JobStatus(status))

    def get_progress(self, job_id: str) -> float | None:
        """How far a running job has come, in percent; None when that is not known."""
        with self._guard:
            job = self._ledger.job(job_id)
            prompt = self._prompts[job][1] if job in self._prompts else None
        return _percent(getattr(prompt, "progress", None))

    def get_statistics(self) -> dict[str, Any]:
        """``total_jobs``, a count for each status, ``queue_size``, ``is_running`` and ``is_paused``."""
        with self._guard:
            return {**self._ledger.statistics(), "is_running": self.is_running, "is_paused": self._paused}

    def clear_completed(self) -> int:
        """Forget all jobs that have ended, whichever way, and say how many those were."""
        with self._guard:
            return self._ledger.forget_ended()

    # --- events

    def on(self, event_type: str, callback: Callback) -> None:
        """Have a callback called on each event of a type. Callbacks are called one after another, in order.

        Args:
            event_type: ``job_started``, ``job_completed``, ``job_failed`` or ``job_cancelled``, which come with the job,
                or ``queue_empty``, which comes with None.
            callback: What it raises is logged, and hurts nobody.
        """
        if event_type not in self._listeners:
            self._log.warning(f"there is no event {event_type!r}; there are {', '.join(EVENTS)}")
            return
        self._listeners[event_type].append(callback)

    def _next_event(self) -> Event | None:
        with self._guard:
            return self._ledger.events.popleft() if self._ledger.events else None

    def _complain(self, event: str, callback: Callback, error: BaseException) -> None:
        name = getattr(callback, "__name__", repr(callback))
        self._log.error(f"the callback {name} for {event} raised {error!r}")

    # --- workers

    @property
    def is_running(self) -> bool:
        """Whether there are workers."""
        raise NotImplementedError

    @property
    def is_paused(self) -> bool:
        """Whether workers leave waiting jobs alone."""
        return self._paused

    def pause(self) -> None:
        """Begin no further job until `resume`. What runs goes on."""
        self._paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused = False
        self._wake()

    def _wake(self) -> None:
        """Something has changed: let whoever waits look again."""
        raise NotImplementedError

    def _workers(self, num_workers: int | None) -> int:
        """How many workers to have; what each server may have at once follows from that."""
        wanted = (
            self.max_concurrent * len(self._clients) if num_workers is None else _from_one("num_workers", num_workers)
        )
        self._ledger.servers.share(wanted)
        return wanted

    def _take(self) -> Assignment | None:
        """The next job, under the guard."""
        return None if self._paused else self._ledger.take(time.time())

    def _patience(self) -> float | None:
        """How long there is nothing to do unless something happens, under the guard."""
        due = None if self._paused else self._ledger.due(time.time())
        return None if due is None else max(0.0, due - time.time())

    def sending(self, task: Assignment) -> bool:
        """See `Books`."""
        with self._guard:
            self._prompts[task.job] = (task, None)
            return self._ledger.sending(task)

    def taken(self, task: Assignment, prompt: Any) -> bool:
        """See `Books`."""
        with self._guard:
            self._prompts[task.job] = (task, prompt)
            goes_on = self._ledger.taken(task)
        self._wake()  # a server that was away may have room again
        return goes_on

    def watching(self, task: Assignment, prompt: Any) -> bool:
        """See `Books`."""
        with self._guard:
            self._prompts[task.job] = (task, prompt)
            return task.job.status is JobStatus.RUNNING

    def _settle(self, task: Assignment, outcome: Any) -> None:
        """Note how an errand ended: with a `Done`, with None, or with an error."""
        with self._guard:
            self._prompts.pop(task.job, None)
            if isinstance(outcome, BaseException):
                self._ledger.fail(task, outcome, time.time())
            elif outcome is None:
                self._ledger.drop(task)
            else:
                self._ledger.complete(task, outcome.entry, outcome.files, time.time())
        self._wake()

    def _cancel(self, job_id: str) -> tuple[bool, C | None, str]:
        """End a job in the books. Gives whether it was there to end, and where its prompt is to be stopped."""
        with self._guard:
            job = self._ledger.job(job_id)
            if job is None or not self._ledger.cancel(job, time.time()):
                return False, None, ""
            under_way = self._prompts.get(job)
        self._wake()
        client = self._clients[under_way[0].server.index] if under_way else None
        return True, client, job.prompt_id or ""

    def _unstopped(self, job_id: str, error: BaseException) -> None:
        self._log.warning(f"job '{job_id}' is cancelled, but its server could not be told: {error}")

    def _timed_out(self, timeout: float) -> QueueTimeoutError:
        with self._guard:
            left = [job for job in self._ledger.jobs() if not job.status.ended]
        some = ", ".join(f"'{job.job_id}' ({job.status.value})" for job in left[:3])
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        return QueueTimeoutError(
            f"after {timeout:g} s these jobs have not ended: {some}{more}",
            {"job_ids": [job.job_id for job in left]},
            hint="they go on; wait again, or cancel them",
        )

    def _nobody_works(self) -> QueueStoppedError | None:
        """The error for whoever waits for ever on jobs that nobody will take, under the guard."""
        if self.is_running or self._prompts:
            return None
        waiting = self._ledger.statistics()["queue_size"]
        return QueueStoppedError(f"{waiting} jobs wait, and the queue does not run", hint="call start()")


def _from_one(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValidationError(f"{name} is a whole number from 1, not {value!r}")
    return value


def _name(client: Any, index: int) -> str:
    """The address of a client's server, without what may be secret in it."""
    url = getattr(client, "base_url", None)
    if not isinstance(url, str):
        return f"server {index + 1}"
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _percent(progress: Any) -> float | None:
    fraction = getattr(progress, "fraction", None)
    return 100.0 * fraction if isinstance(fraction, int | float) else None
