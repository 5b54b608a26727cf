"""What the core asks of the world: state, bytes, events and servers. Adapters implement these; nothing above knows them."""

from __future__ import annotations

from asyncio import Future
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import msgspec

from comfyone.gateway.domain.apps import AppPolicy
from comfyone.gateway.domain.audit import AuditEntry
from comfyone.gateway.domain.backends import Backend, BackendState, ConditionChange, Health
from comfyone.gateway.domain.catalogue import Catalogue
from comfyone.gateway.domain.evidence import FileRef, Hint, Whereabouts
from comfyone.gateway.domain.files import Asset, Blob, Content, Output
from comfyone.gateway.domain.folders import Folder, NamedFile
from comfyone.gateway.domain.jobs import (
    Assignment,
    Failure,
    Job,
    JobEvent,
    JobState,
    Kind,
    Needs,
    NewJob,
    Origin,
    Standing,
    Task,
)
from comfyone.gateway.domain.placement import Policy, Slot
from comfyone.gateway.domain.progress import Snapshot
from comfyone.gateway.domain.prompts import Listing
from comfyone.gateway.domain.tenants import ApiKey, Tenant, TenantPolicy
from comfyone.gateway.domain.usage import UsageQuestion, UsageRow
from comfyone.gateway.domain.webhooks import Delivery, Due, Verdict, Webhook
from comfyone.gateway.domain.workflows import Workflow
from comfyone.graph.document import Graph

__all__ = [
    "MAX_POSITION",
    "Accounts",
    "Audit",
    "Blobs",
    "Bus",
    "Dispatch",
    "Driver",
    "Engine",
    "FolderDoor",
    "Forecast",
    "JobView",
    "Listed",
    "Offer",
    "Outbound",
    "Outbox",
    "Pools",
    "Prompt",
    "PromptDoor",
    "QueuedJob",
    "Reply",
    "Session",
    "SharedBackends",
    "Store",
    "TenantDoor",
    "Usage",
    "WebhookDoor",
]

T = TypeVar("T")


class JobView(msgspec.Struct, frozen=True):
    """A job with what surrounds it, as a tenant sees it. ``position`` counts the jobs ahead while it is queued, as far as
    `MAX_POSITION`."""

    job: Job
    backend_name: str | None
    position: int | None
    outputs: Sequence[Output]


class Prompt(msgspec.Struct, frozen=True):
    """A job as ComfyUI's clients know it. ``graph`` and ``values`` are JSON; of a job that came in other words there is no
    ``origin``."""

    view: JobView
    graph: bytes
    values: bytes
    origin: Origin | None

    @property
    def id(self) -> str:
        """The id under which it is shown: the caller's own, or the job's."""
        own = self.origin.prompt_id if self.origin else None
        return self.view.job.id if own is None else own


class Listed(msgspec.Struct, frozen=True):
    """A job as ComfyUI's clients find it in a list, under the ``id`` that is shown; its graph is left out. ``workflow_id`` is
    that of the page."""

    view: JobView
    id: str
    front: bool
    workflow_id: str | None


class Offer(msgspec.Struct, frozen=True):
    """What placement has to give, so that jobs out of its reach are not read: jobs that want a backend get only these ones;
    ``beyond`` are kinds of jobs that none of them may take."""

    now: float
    backend_ids: Sequence[str]
    beyond: Sequence[Kind] = ()


MAX_POSITION = 10_000
"""Where counting the jobs ahead ends: whoever is further back is told this."""


class QueuedJob(msgspec.Struct, frozen=True):
    """What the outlook needs to know of a job that waits or runs."""

    id: str
    workflow_id: str | None
    started_at: float | None


class TenantDoor(Protocol):
    """The one door to a tenant's data. Everything here sees that tenant's rows and no others; what is not found raises
    ``not_found``, whoever it may belong to."""

    def backends(self) -> list[Backend]: ...
    def backend(self, key: str) -> Backend: ...
    def add_backend(self, backend: Backend, *, new: bool = False) -> Backend: ...
    def change_backend(
        self, key: str, *, state: BackendState | None, weight: int | None, labels: Mapping[str, str] | None
    ) -> Backend: ...
    def delete_backend(self, key: str) -> Backend: ...

    def app_policy(self, app_id: str) -> AppPolicy: ...
    def set_app_policy(self, app_id: str, policy: AppPolicy) -> None: ...

    def workflows(self) -> list[Workflow]: ...
    def workflow(self, key: str, version: int | None = None) -> Workflow: ...
    def add_workflow(self, workflow: Workflow) -> Workflow: ...
    def replace_workflow(self, key: str, workflow: Workflow) -> Workflow: ...
    def delete_workflow(self, key: str, now: float) -> None: ...

    def asset(self, asset_id: str) -> Asset: ...
    def assets(self, asset_ids: Iterable[str]) -> dict[str, Asset]: ...
    def content(self, asset_id: str) -> tuple[Asset, bytes | None]: ...
    def add_asset(self, asset: Asset, *, uploaded: bool, content: bytes | None = None) -> Asset: ...
    def delete_asset(self, asset_id: str) -> Asset: ...
    def upload(self, asset_id: str, now: float) -> Asset: ...
    def delete_upload(self, asset_id: str, now: float) -> None: ...
    def output(self, job_id: str, position: int) -> Output: ...
    def delete_output(self, job_id: str, position: int) -> None: ...
    def with_hash(self, hash: str, now: float) -> Asset | None: ...
    def holds(self, hash: str, name: str | None = None) -> bool: ...
    def bytes_held(self, after: float | None = None) -> int: ...

    def replayed(self, key: str, digest: bytes, since: float | None = None) -> str | None: ...
    def earlier(self, job: NewJob) -> str | None: ...
    def forget_key(self, job: NewJob) -> None: ...
    def add_job(self, job: NewJob) -> str: ...
    def check_prompt_id(self, prompt_id: str) -> None: ...
    def origin(self, job_id: str) -> Origin | None: ...
    def job_of_prompt(self, prompt_id: str) -> str | None: ...
    def count_queued(self, most: int) -> int: ...
    def submitted_since(self, moment: float, most: int) -> tuple[int, float]: ...
    def backend_seconds(self, day: str) -> float: ...
    def reprioritise(self, job_id: str, priority: int, now: float) -> None: ...
    def conditions(self, key: str, limit: int) -> list[ConditionChange]: ...
    def job(self, job_id: str) -> JobView: ...
    def queue(self, limit: int) -> list[QueuedJob]: ...
    def placed(self) -> list[QueuedJob]: ...
    def open_jobs(self) -> list[str]: ...
    def placed_for(self, client_id: str) -> list[str]: ...
    def jobs(
        self,
        *,
        limit: int,
        offset: int = 0,
        states: Sequence[JobState] = (),
        before: str | None = None,
        metadata: Mapping[str, str] = MappingProxyType({}),
        standings: Sequence[Standing] = (),
    ) -> list[JobView]: ...
    def metadata(self, job_ids: Sequence[str]) -> dict[str, dict[str, str]]: ...
    def graph(self, job_id: str) -> tuple[bytes, bytes]: ...
    def workflow_of(self, job_id: str) -> str | None: ...
    def tasks(self, job_ids: Sequence[str]) -> dict[str, Task]: ...
    def count(self, states: Sequence[JobState]) -> int: ...
    def tally(self) -> dict[JobState, int]: ...
    def at_work(self) -> dict[str, str]: ...
    def last_event(self, job_id: str) -> int: ...
    def events(self, job_id: str, after: int) -> list[JobEvent]: ...
    def cancel(self, job_id: str, now: float) -> Job: ...


class Engine(Protocol):
    """What the dispatcher reads and changes. It works on all tenants and is never reached by a request."""

    def backends(self) -> list[Backend]: ...
    def waiting_tenants(self) -> list[str]: ...
    def waiting(self, tenant_id: str, offer: Offer, after: Job | None, limit: int) -> list[Job]: ...
    def has_waiting(self, tenant_id: str) -> bool: ...
    def running(self, tenant_id: str) -> int: ...
    def tried(self, job: Job) -> frozenset[str]: ...
    def learn_needs(self, job: Job, needs: Needs) -> None: ...
    def delayed(self, now: float) -> list[tuple[str, float]]: ...
    def kinds(self, tenant_id: str, limit: int) -> list[tuple[Kind, float]]: ...
    def of_kind(self, tenant_id: str, kind: Kind, before: float, limit: int) -> list[Job]: ...
    def claim(self, job: Job, backend: Slot, prompt_id: str, now: float) -> Assignment | None: ...
    def begin(self, job: Job, now: float) -> bool: ...
    def requeue(
        self,
        job: Job,
        reason: str,
        now: float,
        *,
        not_before: float = 0.0,
        fatal: bool = False,
        started: float | None = None,
    ) -> bool: ...
    def end(
        self,
        job: Job,
        state: JobState,
        now: float,
        *,
        outcome: str,
        failure: Failure | None = None,
        outputs: Sequence[Output] = (),
        started: float | None = None,
        executed: float | None = None,
        fatal: bool = False,
    ) -> bool: ...
    def placed(self) -> list[Assignment]: ...
    def assignment(self, job_id: str) -> Assignment | None: ...
    def closed(self, prompt_ids: Iterable[str]) -> list[str]: ...
    def note_condition(self, backend_id: str, condition: str, reason: str | None, now: float) -> None: ...
    def graph(self, job: Job) -> bytes: ...
    def origin(self, job: Job) -> Origin | None: ...
    def recent(self, limit: int) -> list[tuple[str, str | None, float]]: ...
    def prune(self, before: float, limit: int) -> int: ...
    def expiring(self, now: float, limit: int) -> list[str]: ...
    def expire(self, asset_ids: Iterable[str], now: float) -> None: ...
    def orphaned(self, hashes: Iterable[str]) -> list[str]: ...


class Accounts(Protocol):
    """Tenants and keys: the operator's side."""

    def tenants(self) -> list[Tenant]: ...
    def tenant(self, name: str) -> Tenant | None: ...
    def tenant_by_id(self, tenant_id: str) -> Tenant: ...
    def add_tenant(self, tenant: Tenant) -> Tenant: ...
    def set_policy(self, tenant_id: str, policy: TenantPolicy) -> Tenant: ...
    def keys(self, tenant_id: str) -> list[ApiKey]: ...
    def add_key(self, key: ApiKey, hash: str) -> None: ...
    def key_by_hash(self, hash: str) -> ApiKey | None: ...
    def revoke_key(self, id_or_hint: str, now: float) -> ApiKey: ...


class WebhookDoor(Protocol):
    """A tenant's webhooks and what was sent to them; as `TenantDoor`."""

    def all(self) -> list[Webhook]: ...
    def get(self, webhook_id: str) -> Webhook: ...
    def add(self, webhook: Webhook, most: int) -> Webhook: ...
    def replace(self, webhook: Webhook) -> Webhook: ...
    def delete(self, webhook_id: str) -> None: ...
    def deliveries(self, webhook_id: str, *, limit: int, offset: int) -> list[Delivery]: ...
    def send(self, webhook_id: str, type: str, payload: bytes, now: float) -> Delivery: ...
    def send_again(self, webhook_id: str, delivery_id: str, now: float) -> Delivery: ...


class FolderDoor(Protocol):
    """The names of a tenant's files; as `TenantDoor`."""

    def find(self, folder: Folder, path: str) -> NamedFile | None: ...
    def all(self, folder: Folder, below: str = "") -> list[NamedFile]: ...
    def put(
        self,
        folder: Folder,
        path: str,
        asset: Asset,
        now: float,
        most: int,
        *,
        until: float | None = None,
        uploaded: bool = False,
    ) -> None: ...
    def move(self, folder: Folder, path: str, new_path: str, now: float, most: int) -> None: ...
    def delete(self, folder: Folder, path: str) -> bool: ...


class PromptDoor(Protocol):
    """A tenant's jobs as ComfyUI's clients see them; as `TenantDoor`."""

    def remaining(self, most: int) -> int: ...
    def placed(self, limit: int) -> list[Prompt]: ...
    def waiting(self, limit: int) -> list[Prompt]: ...
    def stoppable(self, limit: int) -> list[Listed]: ...
    def not_begun(self, limit: int) -> list[str]: ...
    def history(self, limit: int, offset: int | None) -> list[Prompt]: ...
    def latest(self, limit: int, reach: int) -> list[Prompt] | None: ...
    def entry(self, prompt_id: str) -> Prompt | None: ...
    def find(self, prompt_id: str) -> Prompt | None: ...
    def listed(self, listing: Listing, most: int) -> tuple[list[Listed], int]: ...
    def hide(self, prompt_ids: Iterable[str]) -> None: ...
    def clear(self, now: float) -> None: ...


class Outbox(Protocol):
    """Messages to send, of all tenants. It is never reached by a request."""

    def due(self, now: float, limit: int, *, under_way: Sequence[str], busy: Sequence[str]) -> list[Due]: ...
    def settle(self, due: Due, verdict: Verdict) -> None: ...
    def webhooks(self) -> list[str]: ...
    def prune(self, webhook_id: str, before: float, *, keep: int, waiting: int, limit: int) -> int: ...


class Audit(Protocol):
    """Who administered what."""

    def add(self, entry: AuditEntry) -> None: ...
    def entries(self, after: str | None, limit: int) -> list[AuditEntry]: ...
    def prune(self, before: float, most: int, limit: int) -> int: ...


class Pools(Protocol):
    """How pools choose among their backends."""

    def policy(self, pool_id: str) -> Policy: ...
    def set_policy(self, pool_id: str, policy: Policy) -> None: ...


class SharedBackends(Protocol):
    """The backends of the pool that all tenants share: the operator's side."""

    def all(self) -> list[Backend]: ...
    def get(self, name: str) -> Backend: ...
    def add(self, backend: Backend) -> Backend: ...
    def change(
        self, name: str, *, state: BackendState | None, weight: int | None, labels: Mapping[str, str] | None
    ) -> Backend: ...
    def delete(self, name: str) -> Backend: ...


class Usage(Protocol):
    """What tenants have used."""

    def rows(self, question: UsageQuestion) -> Iterator[UsageRow]: ...


class Session(Protocol):
    """An open transaction."""

    @property
    def accounts(self) -> Accounts: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def pools(self) -> Pools: ...
    @property
    def shared_backends(self) -> SharedBackends: ...
    @property
    def usage(self) -> Usage: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def outbox(self) -> Outbox: ...
    def tenant(self, tenant_id: str) -> TenantDoor: ...
    def webhooks(self, tenant_id: str) -> WebhookDoor: ...
    def folders(self, tenant_id: str) -> FolderDoor: ...
    def prompts(self, tenant_id: str) -> PromptDoor: ...


class Store(Protocol):
    """State. A command is a small function that runs inside a transaction shared with whatever else is waiting."""

    def submit(self, command: Callable[[Session], T], *, soon: bool = False) -> Future[T]:
        """Hands a command over at once. Commands of one turn of the event loop are committed together, in order; when
        the future ends, they are committed and their events published. A command that nobody waits for may be committed
        ``soon``, a little later, in the company of others."""

    async def write(self, command: Callable[[Session], T]) -> T:
        """``submit``, and wait."""

    async def read(self, query: Callable[[Session], T]) -> T: ...

    async def survey(self, query: Callable[[Session], T]) -> T:
        """`read`, for what may take its time: beside the event loop, on a connection of its own."""


class Blobs(Protocol):
    """Bytes under their blake3 hash; when they are few, `put` gives them back instead of storing them."""

    async def put(
        self,
        chunks: AsyncIterator[bytes],
        *,
        limit: int | None = None,
        inline: bool = True,
        check: Callable[[str], None] | None = None,
    ) -> Blob: ...
    def path(self, hash: str) -> Path: ...
    def renew(self, hash: str) -> bool: ...
    def aged(self, seconds: float) -> Iterator[str]: ...
    def delete(self, hash: str, *, aged: float) -> None: ...


class Bus(Protocol):
    """Events to whoever listens in this process. A topic is the id of a tenant or of a job. A slow listener loses
    previews first, then other passing events, never a numbered one."""

    def publish(self, event: JobEvent) -> None: ...
    def subscribe(
        self, topic: str, *, tenant_id: str, passing: Collection[str] = ()
    ) -> AbstractContextManager[AsyncIterator[JobEvent]]:
        """Every numbered event of the topic, and of `Passing` ones these kinds; nothing of any other tenant."""

    def has_listeners(self, topic: str, passing: str | None = None) -> bool:
        """Whether anybody listens there; to this kind of passing event, if one is named."""

    def audience(self, passing: str) -> Set[str]:
        """The tenants for whom somebody listens to this kind of passing event."""


class Forecast(Protocol):
    """What a job that waits can expect."""

    async def etas(self, tenant_id: str, views: Iterable[JobView]) -> Mapping[str, float]:
        """Seconds until each of these jobs is expected to have ended, by id; those of which that is not known are left
        out."""

    async def position(self, view: JobView) -> JobEvent:
        """The event that tells a job that waits where it stands, however far back."""

    async def positions(self, tenant_id: str) -> Sequence[JobEvent]:
        """The events that tell the first who wait where they stand, as of now."""


class Driver(Protocol):
    """How the engine speaks to one server. Errors: `Unreachable` when nothing was answered, and see each method."""

    async def probe(self) -> None:
        """Raises `WrongServer` when what answers is no such server."""

    async def ping(self) -> None:
        """Asks for as little as can be."""

    async def catalogue(self) -> Catalogue:
        """What the server can do. Slow on large installations."""

    async def ask(self, path: str, query: Mapping[str, str]) -> Any:
        """What the server answers to a plain question, as JSON; None when it has no such thing."""

    async def prompts(self) -> list[str]:
        """The prompts that wait or run on the server, whoever sent them; those that run come last, so that to stop them in
        this order lets none begin because another ended."""

    async def send(
        self, prompt_id: str, graph: Mapping[str, Any], *, extra: Mapping[str, Any], targets: Sequence[str]
    ) -> Mapping[str, Failure]:
        """Queues a graph, with further data for its nodes, and with the only outputs to run if not all. Returns the output
        nodes that the server will leave out, and why. Raises `Refused` when it will not run it, `Unsent` when it certainly
        never got it, `Unreachable` when that is unclear."""

    async def look(self, prompt_id: str, *, ended: bool) -> Whereabouts:
        """What the server's queue and history say of a prompt. ``ended`` is what the hints say: where to look first."""

    async def stop(self, prompt_id: str) -> None:
        """Takes a prompt out of the queue or interrupts it, and touches no other."""

    async def place(self, name: str, content: Content) -> str:
        """Puts a file among the server's inputs; returns the value that names it in a graph. Raises `Refused` when the
        server takes no file as large."""

    def fetch(self, file: FileRef) -> AsyncIterator[bytes]:
        """The bytes of an output. Raises `Gone` when the server no longer has it."""

    async def free(self, *, cache: bool, models: bool) -> None:
        """Asks the server to drop what it remembers of runs, and models with it; or ``models`` alone."""

    def hints(self) -> AsyncIterator[Hint]:
        """What the server's socket says, from the moment it is connected (the first hint) until it is lost."""

    def close(self) -> None:
        """Drops the connections that are kept for the next call."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint answered: its HTTP status, and the seconds after which it wants to be asked again."""

    status: int
    retry_after: float | None


class Outbound(Protocol):
    """The way to addresses that a tenant names. It leads to the public internet and to the networks that the operator has
    opened, and raises `AddressRefused` for all else, `Unreachable` when nothing usable is answered."""

    async def check(self, url: str) -> None:
        """Raises `AddressRefused` at once for what would be refused later."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Sends JSON. Redirects are answers like others, and the body of the answer is not read."""

    def fetch(self, url: str) -> AsyncGenerator[bytes, None]:
        """The bytes at an address, over few redirects. Their number is not bounded."""


class Dispatch(Protocol):
    """What the services ask of the engine."""

    def wake(self, tenant_id: str) -> None:
        """Something of a tenant waits, and is committed: place it."""

    def cancel(self, job_id: str) -> None:
        """Stops a job on its backend, if one has it; the answer does not wait for that."""

    def confide(self, job_id: str, secrets: Mapping[str, Any]) -> None:
        """Keeps what is to be sent with a job and never stored, until the job has ended."""

    def forget(self, job_id: str) -> None:
        """Drops what was confided for a job that is not accepted after all."""

    def progress(self, job_id: str) -> float:
        """How far a job that is running has come, in percent."""

    def snapshot(self, job_id: str) -> Snapshot | None:
        """How far a job has come that a backend has; None when none has it."""

    async def produced(self, job_id: str, filename: str, subfolder: str, type: str) -> Content | None:
        """The bytes of a file that a job on a backend has reported so far, by the server's own name for it; None when there
        is no such file. Whoever asks knows that the job is the asker's."""

    async def attach(self, backend: Backend, patience: float = 0.0) -> None:
        """Connects to a backend, waiting up to ``patience`` seconds for it, or takes note of what has changed about it."""

    async def detach(self, backend: Backend) -> None: ...
    async def probe(self, backend: Backend) -> None:
        """Raises `Unreachable` or `WrongServer`."""

    def health(self, backend_id: str) -> Health: ...
    async def known_classes(self, tenant_id: str) -> frozenset[str] | None:
        """Every node class that the tenant's live backends have, or None while that is not known."""

    def catalogues(self, tenant_id: str) -> Sequence[Catalogue]:
        """What the tenant's backends say that they have, as far as they have said it; the same is there once."""

    async def ask(self, tenant_id: str, path: str, query: Mapping[str, str] | None = None) -> Sequence[Any]:
        """What the tenant's live backends answer to a plain question, those left out that have no answer. It may be some
        seconds old."""

    async def free(self, tenant_id: str, *, cache: bool, models: bool) -> None:
        """Has the tenant's own backends give memory back, as far as they answer."""

    def needs(self, tenant_id: str, graph: Graph, values: Mapping[str, Mapping[str, Any]]) -> Needs | None:
        """What a graph with these values asks of a backend, or None while that is not known."""

    def impossible(
        self, tenant_id: str, needs: Needs | None, labels: Mapping[str, str], backend_id: str | None
    ) -> Failure | None:
        """Why no backend of the tenant can ever run a job; None when one can, or may."""
