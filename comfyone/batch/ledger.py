"""The books of a queue: what stands where, what comes next, what a failure leads to. Pure, and kept in one thread at a time.

pending ──▶ running ──▶ completed | failed | cancelled
   ▲           │
   └───────────┘   tried again, or moved to another server
"""

from __future__ import annotations

import heapq
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from comfyone.batch.faults import Verdict, judge, may_have_been_sent, told
from comfyone.batch.jobs import Job, JobStatus
from comfyone.batch.servers import Server, Servers
from comfyone.errors import ValidationError
from comfyone.transport.retry import RetryPolicy

__all__ = ["EVENTS", "Assignment", "DuplicateJobError", "Event", "Ledger", "Retries", "Trace"]

EVENTS = ("job_started", "job_completed", "job_failed", "job_cancelled", "queue_empty")
"""What a queue tells. All come with the job, but the last, which comes with None."""

Event = tuple[str, Job | None]
Entry = tuple[str, Mapping[str, Any], Mapping[str, Any] | None]

_BACKOFF = RetryPolicy(base=1.0, cap=30.0)

_MAY_BECOME: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.PENDING: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset({JobStatus.PENDING, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}),
}


class DuplicateJobError(ValidationError, ValueError):
    """The queue has a job of that name."""


@dataclass(frozen=True, slots=True)
class Retries:
    """When a job is tried again.

    Args:
        enabled: Whether it ever is.
        limit: How often, beyond the first time.
        backoff: How long a job waits for a server that was away. Any other failure is tried again at once.
    """

    enabled: bool = True
    limit: int = 3
    backoff: RetryPolicy = _BACKOFF

    def __post_init__(self) -> None:
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 0:
            raise ValidationError(f"max_retries is a whole number from 0, not {self.limit!r}")

    def allow(self, job: Job) -> bool:
        """Whether the job may be tried once more."""
        return self.enabled and job.retry_count < self.limit


@dataclass(frozen=True, slots=True)
class Trace:
    """A prompt that may be at a server: nobody knows whether it arrived, or how it ended."""

    server: Server
    prompt_id: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """A job, the server that it goes to, and the prompt that it becomes there.

    Args:
        earlier: A prompt of the same job to look for at that server, before another is sent.
    """

    job: Job
    server: Server
    prompt_id: str
    earlier: str | None = None


class Ledger:
    """All jobs of a queue. What happens is noted in ``events``, for the queue to tell."""

    def __init__(
        self, servers: Sequence[str], retries: Retries, new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    ) -> None:
        self.servers = Servers(servers, retries.backoff)
        self.events: deque[Event] = deque()
        self._retries = retries
        self._new_id = new_id
        self._jobs: dict[str, Job] = {}
        self._ready: deque[Job] = deque()
        self._resting: list[tuple[float, int, Job]] = []  # a heap, by the time when they are ready
        self._order = count()
        self._traces: dict[Job, Trace] = {}
        self._taken: dict[Job, Server] = {}
        self._lost_by: dict[Job, set[Server]] = {}
        self._open = 0  # jobs that have not ended
        self._emptiness_told = False

    # --- what comes in

    def add(self, job_id: str, workflow: Mapping[str, Any], metadata: Mapping[str, Any] | None, now: float) -> Job:
        """Take a job in, with copies of its own.

        Raises:
            DuplicateJobError: The name is taken.
            ValidationError: The name is no text, or the workflow no object.
        """
        if not isinstance(job_id, str) or not job_id:
            raise ValidationError(f"job_id is a text that is not empty, not {job_id!r}")
        if job_id in self._jobs:
            raise DuplicateJobError(
                f"there is a job '{job_id}' already", hint="choose another id, or clear_completed() when it has ended"
            )
        if not isinstance(workflow, Mapping):
            raise ValidationError(f"the workflow of job '{job_id}' is an object in API format, not {workflow!r:.80}")
        job = Job(
            job_id=job_id, workflow=deepcopy(dict(workflow)), metadata=deepcopy(dict(metadata or {})), created_at=now
        )
        self._jobs[job_id] = job
        self._ready.append(job)
        self._open += 1
        self._emptiness_told = False
        return job

    def add_all(self, entries: Iterable[Entry], now: float) -> list[Job]:
        """Take jobs in, given by name, workflow and metadata; all of them or, when one is refused, none."""
        added: list[Job] = []
        emptiness_told = self._emptiness_told
        try:
            for job_id, workflow, metadata in entries:
                added.append(self.add(job_id, workflow, metadata, now))
        except BaseException:  # entries may be made as we go, by somebody else's code
            for job in added:
                self._ready.remove(job)
                self._forget(job)
                self._open -= 1
            self._emptiness_told = emptiness_told
            raise
        return added

    def add_list(self, workflows: Iterable[Mapping[str, Any]], prefix: str, now: float) -> list[Job]:
        """Take jobs in, named ``{prefix}_{index}_{unix seconds}``; all or none."""
        waiting, second = list(workflows), int(now)
        while any(_numbered(prefix, index, second) in self._jobs for index in range(len(waiting))):
            second += 1  # an earlier call within this second has its names
        return self.add_all(
            ((_numbered(prefix, index, second), workflow, None) for index, workflow in enumerate(waiting)), now
        )

    def trace(self, job: Job, server: int, prompt_id: str) -> None:
        """Note that the job may be at a server already, under this prompt."""
        self._traces[job] = Trace(self.servers.all[server], prompt_id)

    # --- what goes out

    def take(self, now: float) -> Assignment | None:
        """The next job and its server; None when there is nothing to do, or nobody to do it."""
        self._wake(now)
        while self._ready:
            job = self._ready[0]
            if job.status is not JobStatus.PENDING:  # it was cancelled while it waited
                self._ready.popleft()
                continue
            trace = self._traces.get(job)
            server = self.servers.choose(now, trace.server if trace else None)
            if server is None:
                return None
            self._ready.popleft()
            return self._assign(job, server, trace, now)
        return None

    def _assign(self, job: Job, server: Server, trace: Trace | None, now: float) -> Assignment:
        self.servers.take(server)
        self._become(job, JobStatus.RUNNING)
        job.started_at, job.server = now, server.name
        earlier = trace.prompt_id if trace and trace.server is server else None
        job.prompt_id = earlier or self._new_id()
        self.events.append(("job_started", job))
        return Assignment(job, server, self._new_id() if earlier else job.prompt_id, earlier)

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._ready.append(heapq.heappop(self._resting)[2])

    def due(self, now: float) -> float | None:
        """When `take` is worth another try although nothing else has happened; None: not before something does."""
        times = [self._resting[0][0]] if self._resting else []
        back = self.servers.next_return(now) if self._ready else None
        return min([*times, back] if back is not None else times, default=None)

    # --- what becomes of it

    def sending(self, task: Assignment) -> bool:
        """Note that its prompt is about to be sent; False when it must not be, as the job was cancelled meanwhile."""
        if task.job.status is not JobStatus.RUNNING:
            return False
        task.job.prompt_id = task.prompt_id
        return True

    def taken(self, task: Assignment) -> bool:
        """Note that the server has it; False when it should be told to stop, as the job was cancelled meanwhile."""
        self.servers.answered(task.server)
        self._taken[task.job] = task.server
        return task.job.status is JobStatus.RUNNING

    def complete(self, task: Assignment, entry: Mapping[str, Any], files: tuple[Path, ...], now: float) -> None:
        """The job is done."""
        self.servers.release(task.server)
        if task.job.status is JobStatus.RUNNING:
            task.job.result, task.job.files = dict(entry), files
            self._end(task.job, JobStatus.COMPLETED, "job_completed", now)

    def fail(self, task: Assignment, error: BaseException, now: float) -> None:
        """The job failed: it is tried again if that may help, and has failed for good otherwise."""
        self.servers.release(task.server)
        job, verdict = task.job, judge(error)
        if job.status is not JobStatus.RUNNING:
            return  # it was cancelled, and what fails after that is how it was stopped
        if verdict in (Verdict.SERVER, Verdict.REFUSED):
            self.servers.failed(task.server, now, error)
        self._note_trace(task, verdict, error)
        if self._may_move(task, verdict):
            self._become(job, JobStatus.PENDING)
            self._ready.appendleft(job)
        elif verdict in (Verdict.SERVER, Verdict.RUN) and self._retries.allow(job):
            self._retry(job, verdict, error, now)
        else:
            job.error, job.exception = told(error), error
            self._end(job, JobStatus.FAILED, "job_failed", now)

    def _note_trace(self, task: Assignment, verdict: Verdict, error: BaseException) -> None:
        job = task.job
        looking = task.earlier is not None and job.prompt_id == task.earlier  # a question that did not get there
        if verdict is Verdict.SERVER and job.prompt_id and (looking or may_have_been_sent(error)):
            self._traces[job] = Trace(task.server, job.prompt_id)
        elif (trace := self._traces.get(job)) is None or trace.server is task.server:
            self._traces.pop(job, None)

    def _may_move(self, task: Assignment, verdict: Verdict) -> bool:
        """Whether the job goes to another server without counting as tried again.

        A server that did not even take it has no part in it. One that took it may have died of it, which is forgiven once.
        """
        took = self._taken.pop(task.job, None) is task.server
        if verdict not in (Verdict.SERVER, Verdict.REFUSED) or not self.servers.another_is_up(task.server):
            return False
        lost_by = self._lost_by.setdefault(task.job, set())
        if took and task.server in lost_by:  # a job that brings its servers down would go round for ever
            return False
        lost_by |= {task.server} if took else set()
        return True

    def _retry(self, job: Job, verdict: Verdict, error: BaseException, now: float) -> None:
        job.retry_count += 1
        self._become(job, JobStatus.PENDING)
        if verdict is Verdict.SERVER:
            due = now + self._retries.backoff.delay(min(job.retry_count, 30), error)
            heapq.heappush(self._resting, (due, next(self._order), job))
        else:
            self._ready.append(job)

    def drop(self, task: Assignment) -> None:
        """The job was cancelled before it was sent."""
        self.servers.release(task.server)

    def put_back(self, task: Assignment) -> None:
        """Whoever carried the job was stopped: it is pending again, and its prompt is looked for before another is sent."""
        self.servers.release(task.server)
        self._taken.pop(task.job, None)
        if task.job.status is JobStatus.RUNNING:
            assert task.job.prompt_id is not None
            self._traces[task.job] = Trace(task.server, task.job.prompt_id)
            self._become(task.job, JobStatus.PENDING)
            self._ready.appendleft(task.job)

    def cancel(self, job: Job, now: float) -> bool:
        """End the job; False when it has ended already."""
        if job.status.ended:
            return False
        self._end(job, JobStatus.CANCELLED, "job_cancelled", now)
        return True

    def _end(self, job: Job, status: JobStatus, event: str, now: float) -> None:
        self._become(job, status)
        job.completed_at = now
        for known in (self._traces, self._taken, self._lost_by):
            known.pop(job, None)
        self._open -= 1
        self.events.append((event, job))
        if self.empty:
            self.tell_emptiness()

    def tell_emptiness(self) -> None:
        """Note ``queue_empty``, once each time that nothing is left."""
        if not self._emptiness_told:
            self._emptiness_told = True
            self.events.append(("queue_empty", None))

    @staticmethod
    def _become(job: Job, status: JobStatus) -> None:
        assert status in _MAY_BECOME.get(job.status, ()), f"{job} can't become {status}"
        job.status = status

    # --- what there is

    @property
    def empty(self) -> bool:
        """Whether every job has ended."""
        return self._open == 0

    def job(self, job_id: str) -> Job | None:
        """The job of that name."""
        return self._jobs.get(job_id)

    def jobs(self, status: JobStatus | None = None) -> list[Job]:
        """All jobs, or those that stand so, in the order in which they were added."""
        return [job for job in self._jobs.values() if status is None or job.status is status]

    def statistics(self) -> dict[str, int]:
        """How many jobs there are, in all and by status; ``queue_size`` is how many wait for a worker."""
        found = Counter(job.status for job in self._jobs.values())
        return {
            "total_jobs": len(self._jobs),
            **{status.value: found[status] for status in JobStatus},
            "queue_size": found[JobStatus.PENDING],
        }

    def forget_ended(self) -> int:
        """Forget all jobs that have ended, and say how many those were."""
        ended = [job for job in self._jobs.values() if job.status.ended]
        for job in ended:
            self._forget(job)
        return len(ended)

    def _forget(self, job: Job) -> None:
        del self._jobs[job.job_id]
        self._traces.pop(job, None)


def _numbered(prefix: str, index: int, second: int) -> str:
    return f"{prefix}_{index:04d}_{second}"
