"""Accepting jobs: everything that is checked of one before it is committed, and the commit."""

from __future__ import annotations

import time
from asyncio import Future
from collections.abc import Mapping
from functools import partial
from secrets import randbelow
from typing import Any

import msgspec
from msgspec.structs import replace

from comfyone.errors import Fault
from comfyone.gateway.domain.backends import Backend
from comfyone.gateway.domain.files import asset_ids_in, parse_asset_path
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.jobs import SECRET_EXTRA, NewJob, Origin, Task
from comfyone.gateway.domain.parameters import fitted_values
from comfyone.gateway.domain.policies import check_granted
from comfyone.gateway.domain.strays import stray_files
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.domain.workflows import (
    InputType,
    Values,
    Workflow,
    check_extent,
    check_raw_graph,
    check_values,
    named_values,
    unknown_workflow,
)
from comfyone.gateway.ports import Dispatch, Session, Store
from comfyone.gateway.services.allowances import Allowances
from comfyone.gateway.services.catalog import Catalog
from comfyone.gateway.services.fetching import Fetching, remote_images
from comfyone.gateway.services.quota import Quota
from comfyone.graph.document import Graph, is_deeper, with_values

__all__ = ["Submission", "Submissions"]

MAX_KEY = 255

ID_MARK = b"-7"
"""In the text of every id that we make, before its third group: they are UUIDs of version 7."""

MAX_ID = 255
"""Characters of an id that a caller chooses."""

MAX_SECRETS = 16 * 1024
"""Bytes of secrets that a job may have: they are in memory until its end."""

MAX_NESTED = 100
"""Arrays and objects within each other in ``extra_data``."""

MAX_FILES = 1000
"""Files that one job may need."""


class Submission(msgspec.Struct, frozen=True):
    """A job as it was asked for.

    Either ``workflow`` (id or name) with ``values`` by node or ``named`` by input name; or ``graph``, with its bytes in ``raw``
    and ``values`` by node.
    ``digest`` stands for the whole body, so that a repeat under the same idempotency key can be told from another job.
    """

    workflow: str | None = None
    values: Values | None = None
    named: dict[str, Any] | None = None
    graph: Any = None
    raw: bytes | None = None
    outputs: tuple[str, ...] = ()
    backend: str | None = None
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    priority: int = 0
    free_cache: bool = False
    free_gpu: bool = True
    idempotency_key: str | None = None
    digest: bytes = b""
    key_lifetime: float | None = None
    """Seconds after which the idempotency key may be used anew."""

    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Labels by which the job is found again, checked."""

    sure: bool = False
    """Refuse what no backend can ever run, instead of accepting a job that has failed."""
    origin: Origin | None = None
    secrets: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """See `NewJob.secrets`."""

    task: Task | None = None
    loose: bool = False
    """``named`` may be called by common words for inputs, and a seed of -1 is any; see `fitted_values`."""

    def __repr__(self) -> str:
        return f"Submission({self.workflow or 'a graph'!r})"  # no secret may be seen in it


class Submissions:
    def __init__(
        self,
        store: Store,
        dispatch: Dispatch,
        catalog: Catalog,
        allowances: Allowances,
        quota: Quota,
        fetching: Fetching,
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._catalog = catalog
        self._allowances = allowances
        self._quota = quota
        self._fetching = fetching

    async def check(self, principal: Principal, submission: Submission) -> NewJob | str:
        """The job, checked; or the id of the earlier one, when what is no longer acceptable was accepted before."""
        principal.require(Scope.JOBS)
        if submission.graph is not None:
            principal.require(Scope.GRAPHS)
        if submission.idempotency_key is not None and not 0 < len(submission.idempotency_key) <= MAX_KEY:
            raise Fault("invalid_body", f"an Idempotency-Key has 1 to {MAX_KEY} characters", field="Idempotency-Key")
        if submission.origin or submission.secrets:
            _check_origin(submission)
        try:
            await self._quota.require_any(principal)
            return await self._checked(principal, submission)
        except Fault:
            earlier = await self._replayed(principal.tenant_id, submission)
            if earlier is None:
                raise
            return earlier

    async def add(self, principal: Principal, job: NewJob, *, at_once: bool = False) -> tuple[str, bool]:
        """Commits a job. It is placed in a transaction of its own, behind the answer; or ``at_once``, in the same, for whoever
        wants no answer before the job has ended."""
        committed = self._store.submit(partial(self._added, principal=principal, job=job))
        if job.secrets:
            self._dispatch.confide(job.id, job.secrets)
            committed.add_done_callback(partial(self._forget_refused, job.id))
        if at_once:
            self._dispatch.wake(principal.tenant_id)
        else:
            committed.add_done_callback(partial(self._place, principal.tenant_id, job.id))
        added = await committed
        if isinstance(added, Fault):
            raise added
        return added

    def _place(self, tenant_id: str, job_id: str, committed: Future[tuple[str, bool] | Fault]) -> None:
        if committed.cancelled() or _is_accepted(job_id, committed):  # whoever went away may have left a job
            self._dispatch.wake(tenant_id)

    def _forget_refused(self, job_id: str, committed: Future[tuple[str, bool] | Fault]) -> None:
        if not _is_accepted(job_id, committed):
            self._dispatch.forget(job_id)

    def _added(self, session: Session, *, principal: Principal, job: NewJob) -> tuple[str, bool] | Fault:
        """Runs in the writer. A repeat takes no leave; whoever gets none has left no trace. That is an answer and no error:
        an error would have all that is in the same transaction done over."""
        door = session.tenant(principal.tenant_id)
        earlier = door.earlier(job)
        if earlier is not None:
            return earlier, True
        try:
            if job.origin and job.origin.prompt_id is not None:
                door.check_prompt_id(job.origin.prompt_id)
            self._allowances.take(principal.tenant_id, principal.policy, door, job.created_at)
        except Fault as refusal:
            door.forget_key(job)
            return refusal
        return door.add_job(job), False

    async def _replayed(self, tenant_id: str, submission: Submission) -> str | None:
        """The earlier job of a repeat, which counts whatever may have changed since: its workflow may be gone."""
        key = submission.idempotency_key
        if key is None:
            return None
        return await self.replayed(tenant_id, key, submission.digest, submission.key_lifetime)

    async def replayed(self, tenant_id: str, key: str, digest: bytes, lifetime: float | None) -> str | None:
        """The job that came under an idempotency key with this body, as long as the key lives."""
        since = None if lifetime is None else time.time() - lifetime
        return await self._store.read(lambda session: session.tenant(tenant_id).replayed(key, digest, since))

    async def _checked(self, principal: Principal, submission: Submission) -> NewJob | str:
        tenant_id = principal.tenant_id
        if not await self._catalog.has_backends(tenant_id):
            raise Fault("no_backend", "no backend is registered")
        backend = await self._catalog.backend(tenant_id, submission.backend) if submission.backend else None
        workflow = None
        check_extent(submission.named, field="inputs", slug="invalid_input")
        if submission.workflow:
            workflow, graph = await self._catalog.workflow(tenant_id, submission.workflow)
            if not principal.may_run(workflow.name):
                raise unknown_workflow(submission.workflow)
            check_granted(principal.policy, graph)  # at this moment: the policy may be younger than the workflow
            values = check_values(workflow, graph, _given(submission, workflow, graph))
            if remote := remote_images(workflow, values):
                if earlier := await self._replayed(tenant_id, submission):
                    return earlier  # whatever the URL leads to by now
                values = await self._fetching.replace(principal, values, remote)
            await self._check_images(tenant_id, workflow, values)
        else:
            graph, values = submission.graph, submission.values or {}
            check_raw_graph(graph, submission.outputs, values)
            check_granted(principal.policy, graph)
        backend_id = backend.id if backend else None
        needs = self._dispatch.needs(tenant_id, graph, values)
        if needs and needs.own:
            await self._check_files(tenant_id, graph, values, backend, submission.labels)
        failure = self._dispatch.impossible(tenant_id, needs, submission.labels, backend_id)
        if failure and submission.sure:
            raise Fault("invalid_graph", failure.message, hint=failure.hint)
        raw = workflow.graph if workflow else submission.raw or b""
        origin, kept_secret = _parted(submission)
        encoded = msgspec.json.encode(values)
        return NewJob(
            id=new_id(),
            workflow_id=workflow.id if workflow else None,
            version=workflow.version if workflow else None,
            values=encoded,
            outputs=workflow.outputs if workflow else submission.outputs,
            graph=submission.raw,
            backend_id=backend_id,
            labels=submission.labels,
            needs=needs,
            failure=failure,
            priority=submission.priority,
            free_cache=submission.free_cache,
            free_gpu=submission.free_gpu,
            created_at=time.time(),
            assets=_files_needed(raw, graph, encoded, values),
            idempotency_key=submission.idempotency_key,
            digest=submission.digest,
            key_lifetime=submission.key_lifetime,
            metadata=submission.metadata,
            origin=origin,
            secrets=kept_secret,
            task=submission.task,
        )

    async def _check_files(
        self, tenant_id: str, graph: Graph, values: Values, backend: Backend | None, labels: Mapping[str, str]
    ) -> None:
        """Whoever has only what others use too may name no file but its own.

        Raises:
            Fault: ``asset_unknown``.
        """
        takers = await self._catalog.takers(tenant_id, backend, labels)
        loaders = [catalogue.loaders for catalogue in self._dispatch.catalogues(tenant_id)]
        stray = next(stray_files(graph, values, loaders), None)
        if stray and takers and all(taker.shared for taker in takers):
            raise Fault("asset_unknown", stray.text, field=stray.input, hint=stray.hint)

    async def _check_images(self, tenant_id: str, workflow: Workflow, values: Values) -> None:
        """Every image must be a file of this tenant, and an image."""
        images = {(spec.id, spec.name): spec for spec in workflow.inputs if spec.type is InputType.IMAGE}
        named = {key: values[key[0]][key[1]] for key in images if key[1] in values.get(key[0], {})}
        if not named:
            return
        ids = {path: parse_asset_path(path) or "" for path in named.values()}
        assets = await self._store.read(lambda session: session.tenant(tenant_id).assets(ids.values()))
        for key, path in named.items():
            asset = assets.get(ids[path])
            if asset is None:
                raise Fault("asset_unknown", f"{images[key].label}: no file '{path}' was uploaded", field=key[1])
            if not asset.mime.startswith("image/"):
                hint = "give the path of an uploaded image"
                raise Fault(
                    "invalid_input", f"{images[key].label}: '{asset.name}' is {asset.mime}", field=key[1], hint=hint
                )


def _is_accepted(job_id: str, committed: Future[tuple[str, bool] | Fault]) -> bool:
    """Whether it is a job now: not refused, and no earlier one in its place."""
    return not committed.cancelled() and not committed.exception() and committed.result() == (job_id, False)


def _given(submission: Submission, workflow: Workflow, graph: Graph) -> Values:
    """The values as they were given, under their nodes."""
    if submission.named is None:
        return submission.values or {}
    if submission.loose:
        return fitted_values(workflow, graph, submission.named, randbelow)
    return named_values(workflow, submission.named)


def _check_origin(submission: Submission) -> None:
    """Raises:
    Fault: ``invalid_body`` for ids that are too long, secrets that are too large, or data that is nested too deeply.
    """
    origin = submission.origin or Origin()
    if is_deeper(origin.extra_data, MAX_NESTED):
        raise Fault("invalid_body", f"extra_data is nested more than {MAX_NESTED} levels deep", field="extra_data")
    for name, value in (("client_id", origin.client_id), ("prompt_id", origin.prompt_id)):
        if value is not None and not 0 < len(value) <= MAX_ID:
            raise Fault("invalid_body", f"a {name} has 1 to {MAX_ID} characters", field=name)
    secrets = {name: origin.extra_data[name] for name in SECRET_EXTRA & origin.extra_data.keys()}
    if (secrets or submission.secrets) and len(msgspec.json.encode([secrets, submission.secrets])) > MAX_SECRETS:
        raise Fault("invalid_body", f"keys in extra_data have at most {MAX_SECRETS:,} bytes", field="extra_data")


def _parted(submission: Submission) -> tuple[Origin | None, Mapping[str, Any]]:
    """The origin without what must not be stored, and that."""
    origin, secrets = submission.origin, submission.secrets
    if origin and (found := SECRET_EXTRA & origin.extra_data.keys()):
        secrets = {**{name: origin.extra_data[name] for name in found}, **secrets}
        origin = replace(origin, extra_data={k: v for k, v in origin.extra_data.items() if k not in found})
    return origin, secrets


def _files_needed(raw: bytes, graph: Graph, given: bytes, values: Values) -> tuple[str, ...]:
    """The ids of all assets that the nodes of a job name. ``raw`` and ``given`` are the bytes of graph and values.

    Raises:
        Fault: ``invalid_input`` when they are too many.
    """
    if ID_MARK not in raw and ID_MARK not in given:
        return ()  # as with most: nothing in there can be an id, and to look at every value would cost more than the rest
    found = set(asset_ids_in([node["inputs"] for node in with_values(graph, values).values()]))
    if len(found) > MAX_FILES:
        raise Fault("invalid_input", f"the job needs {len(found):,} files, at most {MAX_FILES:,} are placed for one")
    return tuple(found)
