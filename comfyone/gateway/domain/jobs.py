"""Jobs: their states, the one table of transitions, attempts and failures."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

__all__ = [
    "INTERRUPTED",
    "REQUEUED",
    "SECRET_EXTRA",
    "TERMINAL",
    "TRANSITIONS",
    "Assignment",
    "Failure",
    "Job",
    "JobEvent",
    "JobState",
    "Kind",
    "Needs",
    "NewJob",
    "Origin",
    "Passing",
    "Standing",
    "Task",
    "rank_of",
    "sources",
]


class JobState(StrEnum):
    QUEUED = "queued"  # waits for a backend, with us
    DISPATCHED = "dispatched"  # a backend is chosen and the prompt id is on record; it is being or has been sent
    RUNNING = "running"  # the backend has begun it
    SUCCEEDED = "succeeded"  # every declared output is stored here
    FAILED = "failed"
    CANCELLED = "cancelled"


REQUEUED = "requeued"
"""The type of the event with which a job goes back to the queue; every other transition's is the state it leads to."""

INTERRUPTED = "interrupted"
"""The type of failure of a job whose run somebody stopped on its backend, past the gateway."""


class Passing(StrEnum):
    """Events that have no number and are not kept: whoever misses one is told the next."""

    PROGRESS = "progress"  # {"percent", "node_id", "nodes_done", "nodes_total", "step", "steps"}
    POSITION = "position"  # {"position", "eta"}
    CANCELLING = "cancelling"  # {}: it is to be stopped on its backend
    MESSAGE = "message"  # {"hint"}: what the server said in its own words; none is left out
    PREVIEW = "preview"  # {"mime", "node_id", "data"}: a picture of what is being made, as bytes


AGEING = 60.0
"""Seconds of waiting that are worth one step of priority."""

TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    # a queued job fails when nothing could take it in time
    JobState.QUEUED: frozenset({JobState.DISPATCHED, JobState.FAILED, JobState.CANCELLED}),
    # a quick job can end before we hear that it began; a lost one goes back to the queue
    JobState.DISPATCHED: frozenset({JobState.RUNNING, JobState.QUEUED}) | TERMINAL,
    JobState.RUNNING: frozenset({JobState.QUEUED}) | TERMINAL,
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
"""From each state, the states that may follow. Nothing else moves a job."""


def sources(target: JobState) -> tuple[JobState, ...]:
    """The states from which ``target`` may be reached."""
    return tuple(state for state, following in TRANSITIONS.items() if target in following)


class Standing(NamedTuple):
    """How a job may stand: its state, and whether it is being cancelled; None: either."""

    state: JobState
    cancelling: bool | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why a job failed. ``type`` is stable: ``node_error``, ``rejected``, ``invalid_graph``, ``output_missing``,
    ``backend_lost``, ``unschedulable``, ``unable``, ``poison``, ``input_missing``, `INTERRUPTED`."""

    type: str
    message: str
    node_id: str | None = None
    node_type: str | None = None
    hint: str | None = None
    exception: str | None = None
    """The type of what a node raised, as the server names it, and where it did; of a shared server, that is its owner's
    affair."""

    traceback: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """The message without the node, for those who are told the node beside it."""
        return self.message.removeprefix(f"node '{self.node_id}' ({self.node_type}): ")


class Needs(msgspec.Struct, frozen=True):
    """What a backend must have to run a graph: node classes, and values of enumerated inputs, models above all.

    A choice is (class, input, value), the value with ``/`` between folders whatever the server writes.
    """

    classes: frozenset[str] = frozenset()
    choices: frozenset[tuple[str, str, str]] = frozenset()
    own: bool = False
    """It names files of a server's own, or works on its folders: no server will do that others use too."""


class Kind(msgspec.Struct, frozen=True):
    """What decides where a job may run: for a backend, jobs of one kind are all the same."""

    needs: Needs | None = None
    labels: tuple[tuple[str, str], ...] = ()
    wanted_backend_id: str | None = None


def rank_of(priority: int, created_at: float) -> float:
    """A job's place in its tenant's queue, lowest first. Waiting `AGEING` seconds is worth one step of priority, so
    that low never means never; within one priority, first come first served."""
    return created_at - priority * AGEING


SECRET_EXTRA = frozenset({"api_key_comfy_org", "auth_token_comfy_org"})
"""What of ``extra_data`` opens doors elsewhere: ComfyUI itself shows these to nobody, and here they are never stored."""


class Origin(msgspec.Struct, frozen=True):
    """What a caller in ComfyUI's own words says of a job, besides its graph.

    ``prompt_id`` is the id that the caller chose, if any. ``targets`` are the only outputs to run; none means all.
    ``front`` puts the job before all that its tenant has waiting.
    """

    client_id: str | None = None
    prompt_id: str | None = None
    extra_data: Mapping[str, Any] = msgspec.field(default_factory=dict)
    targets: tuple[str, ...] = ()
    front: bool = False


class Task(msgspec.Struct, frozen=True):
    """How a client of tasks and workers asked for a job: its word for the workflow, and the payload as it came. None where
    that is the job's graph."""

    workflow_id: str
    payload: bytes | None


class NewJob(msgspec.Struct, frozen=True):
    """A submission that has passed every check and only needs to be committed.

    ``graph`` holds the bytes of a raw graph; jobs of a stored workflow have none and name the version instead.
    ``values`` maps node ids to the inputs to set, in the form the gateway keeps (asset paths for images).
    """

    id: str
    workflow_id: str | None
    version: int | None
    values: bytes
    outputs: tuple[str, ...]
    graph: bytes | None
    backend_id: str | None
    priority: int
    free_cache: bool
    free_gpu: bool
    created_at: float
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    needs: Needs | None = None
    failure: Failure | None = None
    """Why no backend can ever run it: it is accepted, and fails at once."""

    assets: tuple[str, ...] = ()
    """The ids of the files that it needs."""

    idempotency_key: str | None = None
    digest: bytes = b""
    key_lifetime: float | None = None
    """Seconds after which the idempotency key may be used anew; None: never, as long as the job is kept."""

    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Labels by which it is found again."""
    origin: Origin | None = None
    secrets: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Further ``extra_data``, which is never stored: it is kept in memory until the job ends."""

    task: Task | None = None

    def __repr__(self) -> str:
        return f"NewJob({self.id!r})"  # no secret may be seen in it


class Job(msgspec.Struct, frozen=True):
    """A job as it stands. Times are seconds since the epoch."""

    id: str
    tenant_id: str
    workflow_id: str | None
    version: int | None
    state: JobState
    priority: int
    labels: Mapping[str, str]
    needs: Needs | None
    wanted_backend_id: str | None
    backend_id: str | None
    attempt: int
    cancelling: bool
    free_cache: bool
    free_gpu: bool
    values: bytes
    outputs: tuple[str, ...]
    error: Failure | None
    created_at: float
    queued_at: float
    dispatched_at: float | None
    started_at: float | None
    executed_at: float | None
    finished_at: float | None

    @property
    def kind(self) -> Kind:
        return Kind(self.needs, tuple(self.labels.items()), self.wanted_backend_id)


class Assignment(msgspec.Struct, frozen=True):
    """A job placed on a backend. ``prompt_id`` is committed before anything is sent (law 4)."""

    job: Job
    backend_id: str
    prompt_id: str


class JobEvent(msgspec.Struct, frozen=True):
    """Something that happened to a job. ``number`` counts 1, 2, … per job; a `Passing` event has None."""

    tenant_id: str
    job_id: str
    number: int | None
    type: str
    at: float
    data: Mapping[str, Any] = msgspec.field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        return self.type in TERMINAL
