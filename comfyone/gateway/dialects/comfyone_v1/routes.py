"""The operations of v1; docs/reference/v1.md says what each means."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from blake3 import blake3
from starlette.responses import Response

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode
from comfyone.gateway.dialects.comfyone_v1.bodies import (
    BackendChange,
    GraphPrompt,
    NewBackend,
    Prompt,
    PromptChange,
    WorkflowBody,
    by_node,
)
from comfyone.gateway.dialects.comfyone_v1.codec import V1Codec
from comfyone.gateway.dialects.comfyone_v1.pools import POOL_ROUTES
from comfyone.gateway.dialects.comfyone_v1.records import (
    STATUS,
    Accepted,
    AssetRecord,
    BackendRecord,
    ConditionRecord,
    StatusRecord,
    WorkflowRecord,
    accepted,
    asset_record,
    backend_record,
    status_record,
    workflow_record,
)
from comfyone.gateway.dialects.comfyone_v1.usage import USAGE_ROUTES
from comfyone.gateway.dialects.comfyone_v1.webhooks import WEBHOOK_ROUTES
from comfyone.gateway.dialects.downloads import file_response
from comfyone.gateway.dialects.forms import Form
from comfyone.gateway.dialects.moments import moment
from comfyone.gateway.dialects.routing import GRAPH_FAULTS, Call, Query, Route
from comfyone.gateway.dialects.sse import event_stream
from comfyone.gateway.domain.jobs import JobState
from comfyone.gateway.ports import JobView
from comfyone.gateway.services.submissions import Submission

__all__ = ["ROUTES"]

MAX_WAIT = 60.0
MAX_TTL = 100 * 366 * 24 * 3600.0
_codec = V1Codec()


# backends


async def list_backends(call: Call) -> list[BackendRecord]:
    return [backend_record(seen) for seen in await call.services.backends.all(call.principal)]


async def register_backend(call: Call) -> BackendRecord:
    body: NewBackend = await call.body()
    seen = await call.services.backends.register(
        call.principal, body.instance_id, url=body.url, weight=body.weight, labels=body.labels, state=body.state
    )
    return backend_record(seen)


async def get_backend(call: Call) -> BackendRecord:
    return backend_record(await call.services.backends.get(call.principal, call.path("name")))


async def change_backend(call: Call) -> BackendRecord:
    body: BackendChange = await call.body()
    seen = await call.services.backends.change(
        call.principal, call.path("name"), state=body.state, weight=body.weight, labels=body.labels
    )
    return backend_record(seen)


async def get_backend_history(call: Call) -> list[ConditionRecord]:
    changes = await call.services.backends.history(call.principal, call.path("name"), call.number("limit"))
    return [ConditionRecord(moment(change.at), change.condition, change.reason) for change in changes]


async def delete_backend(call: Call) -> None:
    await call.services.backends.delete(call.principal, call.path("name"))


# workflows


async def list_workflows(call: Call) -> list[WorkflowRecord]:
    return [workflow_record(workflow, graph=False) for workflow in await call.services.workflows.all(call.principal)]


async def create_workflow(call: Call) -> WorkflowRecord:
    body: WorkflowBody = await call.body()
    return workflow_record(await call.services.workflows.create(call.principal, *_declaration(body)))


async def get_workflow(call: Call) -> WorkflowRecord:
    return workflow_record(await call.services.workflows.get(call.principal, call.path("id"), call.number("version")))


async def update_workflow(call: Call) -> WorkflowRecord:
    body: WorkflowBody = await call.body()
    return workflow_record(await call.services.workflows.update(call.principal, call.path("id"), *_declaration(body)))


async def delete_workflow(call: Call) -> None:
    await call.services.workflows.delete(call.principal, call.path("id"))


def _declaration(body: WorkflowBody) -> tuple[Any, ...]:
    raw = bytes(body.workflow)
    return body.name, [declared.spec() for declared in body.inputs], body.output_ids(), decode(raw, Any), raw


# files


async def upload_file(call: Call) -> AssetRecord:
    lifetime, files = call.number("ttl"), call.services.files
    form = Form(call.request, "file", files.limit)
    await files.expect(call.principal, form.least_size)
    await form.open()
    asset = await files.upload(call.principal, form.filename, form.content_type, form.chunks(), lifetime)
    return asset_record(asset)


async def download_file(call: Call) -> Response:
    return file_response(call.request, *await call.services.files.get(call.principal, call.path("id")))


async def delete_file(call: Call) -> None:
    await call.services.files.delete(call.principal, call.path("id"))


# prompts


async def prompt(call: Call) -> Response:
    raw = await call.bytes()
    body = decode(raw, Prompt)
    by_name = isinstance(body.inputs, dict)
    return await _submit(
        call,
        Submission(
            workflow=body.workflow_id,
            named=body.inputs if by_name else None,  # type: ignore[arg-type]
            values=None if by_name else by_node(body.inputs),  # type: ignore[arg-type]
            **_options(call, body, raw),
        ),
    )


async def prompt_workflow(call: Call) -> Response:
    raw = await call.bytes()
    body = decode(raw, GraphPrompt)
    graph = bytes(body.workflow) or bytes(body.prompt) or raw
    return await _submit(
        call,
        Submission(
            graph=decode(graph, Any),
            raw=graph,
            values=by_node(body.inputs),
            outputs=tuple(body.outputs),
            **_options(call, body, raw),
        ),
    )


def _options(call: Call, body: Prompt | GraphPrompt, raw: bytes) -> dict[str, Any]:
    return {
        "backend": body.backend,
        "labels": body.labels,
        "priority": body.priority,
        "free_cache": body.free_cache,
        "free_gpu": body.free_gpu,
        "idempotency_key": call.header(b"idempotency-key"),
        "digest": blake3(call.request.scope["path"].encode() + b"\0" + raw).digest(),
    }


async def _submit(call: Call, submission: Submission) -> Response:
    """With ``wait``, the answer is the job's status at its end, which has all that the short answer has."""
    if wait := call.number("wait"):
        job, replayed = await call.services.jobs.run(call.principal, submission, wait)
        response = _codec.success(await _status(call, job))
    else:
        job_id, replayed = await call.services.jobs.submit(call.principal, submission)
        response = _codec.success(accepted(job_id))
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


async def get_prompt_status(call: Call) -> StatusRecord:
    return await _status(call, await call.services.jobs.get(call.principal, call.path("id"), call.number("wait")))


async def change_prompt(call: Call) -> StatusRecord:
    body: PromptChange = await call.body()
    return await _status(call, await call.services.jobs.reprioritise(call.principal, call.path("id"), body.priority))


async def cancel_prompt(call: Call) -> StatusRecord:
    return await _status(call, await call.services.jobs.cancel(call.principal, call.path("id")))


async def get_prompt_history(call: Call) -> list[StatusRecord]:
    views = await call.services.jobs.page(
        call.principal, limit=call.number("limit"), offset=call.number("offset"), states=_states(call)
    )
    return await _statuses(call, views)


async def get_prompt_events(call: Call) -> Response:
    after = call.number("after")
    resumed = call.request.headers.get("last-event-id", "")
    job_id = call.path("id")
    await call.services.jobs.get(call.principal, job_id)  # so that an unknown job is a 404 and not an empty stream
    if call.request.method == "HEAD":
        return Response(media_type="text/event-stream")  # or it would be kept open for nothing
    after = int(resumed) if resumed.isdigit() else after
    return event_stream(_events(call, job_id, after, bool(call.number("previews"))), call.until_lapsed)


async def _events(call: Call, job_id: str, after: int, previews: bool) -> AsyncIterator[tuple[int | None, str, bytes]]:
    async for event in call.services.jobs.events(call.principal, job_id, after, previews=previews):
        data = {"number": event.number, "type": event.type, "at": moment(event.at), "data": event.data}
        yield event.number, event.type, msgspec.json.encode(data)


async def _status(call: Call, view: JobView) -> StatusRecord:
    (record,) = await _statuses(call, [view])
    return record


async def _statuses(call: Call, views: Sequence[JobView]) -> list[StatusRecord]:
    etas = await call.services.outlook.etas(call.principal.tenant_id, views)
    return [status_record(view, call.services.progress(view.job.id), etas.get(view.job.id)) for view in views]


def _states(call: Call) -> list[JobState]:
    """The states that ``?status=`` names, in the engine's words or in v1's."""
    wanted = call.request.query_params.get("status")
    if not wanted:
        return []
    states = [
        state
        for state in JobState
        if wanted in (state, STATUS[state]) or (wanted == "pending" and STATUS[state] == "pendding")
    ]
    if not states:
        known = ", ".join(sorted({*JobState, *STATUS.values(), "pending"}))
        raise Fault("invalid_body", f"?status={wanted[:40]} is no status", field="status", hint=f"choose among {known}")
    return states


WAIT = Query("wait", "answer when the job has ended, or after this many seconds", float, 0.0, 0.0, MAX_WAIT)

ROUTES = (
    Route(
        "POST",
        "/v1/prompts",
        prompt,
        "Run a stored workflow",
        Prompt,
        Accepted,
        query=(WAIT,),
        faults=(
            "invalid_input",
            "asset_unknown",
            "address_refused",
            "fetch_failed",
            "too_large",
            "class_forbidden",
            "no_backend",
            "not_found",
            "idempotency_mismatch",
            "queue_full",
            "rate_limited",
            "budget_spent",
            "quota_exceeded",
        ),
    ),
    Route(
        "GET",
        "/v1/prompts/history",
        get_prompt_history,
        "Jobs, newest first",
        answer=list[StatusRecord],
        query=(
            Query("limit", "how many", int, 10, 1, 200),
            Query("offset", "how many to leave out", int, 0, 0),
            Query("status", "only those in this state"),
        ),
    ),
    Route(
        "GET",
        "/v1/prompts/{id}/status",
        get_prompt_status,
        "How a job stands",
        answer=StatusRecord,
        query=(WAIT,),
        aliases=(("GET", "/v1/prompts/{id}"),),
        faults=("not_found",),
    ),
    Route(
        "GET",
        "/v1/prompts/{id}/events",
        get_prompt_events,
        "What happens to a job, as server-sent events",
        query=(
            Query("after", "the number of the last event that is known", int, 0, 0),
            Query("previews", "1: also pictures of what is being made", int, 0, 0, 1),
        ),
        media="text/event-stream",
        faults=("not_found",),
    ),
    Route(
        "PATCH",
        "/v1/prompts/{id}",
        change_prompt,
        "Change a job's priority",
        PromptChange,
        StatusRecord,
        faults=("not_found", "job_finished"),
    ),
    Route(
        "POST",
        "/v1/prompts/{id}/cancel",
        cancel_prompt,
        "Cancel a job",
        answer=StatusRecord,
        aliases=(("DELETE", "/v1/prompts/{id}"),),
        faults=("not_found", "job_finished"),
    ),
    Route(
        "POST",
        "/v1/prompts_workflow",
        prompt_workflow,
        "Run a graph that is not stored",
        GraphPrompt,
        Accepted,
        query=(WAIT,),
        faults=("not_found", *GRAPH_FAULTS),
    ),
    Route(
        "POST",
        "/v1/files",
        upload_file,
        "Upload a file",
        answer=AssetRecord,
        query=(Query("ttl", "seconds after which it may be deleted", float, None, 1.0, MAX_TTL),),
        upload=True,
        aliases=(("POST", "/v1/files/upload"),),
        faults=("empty_file", "bad_file_name", "wrong_file_type", "too_large", "quota_exceeded"),
    ),
    Route(
        "GET",
        "/v1/files/{id}",
        download_file,
        "Download a file",
        media="*/*",
        aliases=(("GET", "/v1/files/{id}/{name}"),),
        faults=("not_found", "range_unsatisfiable"),
    ),
    Route("DELETE", "/v1/files/{id}", delete_file, "Delete a file", faults=("not_found", "in_use")),
    Route("GET", "/v1/workflows", list_workflows, "Stored workflows", answer=list[WorkflowRecord]),
    Route(
        "POST",
        "/v1/workflows",
        create_workflow,
        "Store a workflow",
        WorkflowBody,
        WorkflowRecord,
        faults=("invalid_graph", "class_forbidden", "conflict", "scope_missing"),
    ),
    Route(
        "GET",
        "/v1/workflows/{id}",
        get_workflow,
        "A stored workflow with its graph",
        answer=WorkflowRecord,
        query=(Query("version", "a version other than the current one", int, None, 1),),
        faults=("not_found",),
    ),
    Route(
        "PATCH",
        "/v1/workflows/{id}",
        update_workflow,
        "Store the next version of a workflow",
        WorkflowBody,
        WorkflowRecord,
        aliases=(("PUT", "/v1/workflows/{id}"),),
        faults=("invalid_graph", "class_forbidden", "conflict", "not_found", "scope_missing"),
    ),
    Route("DELETE", "/v1/workflows/{id}", delete_workflow, "Delete a workflow", faults=("not_found", "scope_missing")),
    Route("GET", "/v1/backends", list_backends, "Registered backends", answer=list[BackendRecord]),
    Route(
        "POST",
        "/v1/backends",
        register_backend,
        "Register a backend",
        NewBackend,
        BackendRecord,
        faults=("backend_unresolvable", "backend_unreachable", "not_comfyui", "conflict", "scope_missing"),
    ),
    Route(
        "GET",
        "/v1/backends/{name:path}/history",
        get_backend_history,
        "What became of a backend and why, the latest first",
        answer=list[ConditionRecord],
        query=(Query("limit", "how many", int, 20, 1, 100),),
        faults=("not_found",),
    ),
    Route(
        "GET",
        "/v1/backends/{name:path}",
        get_backend,
        "A registered backend",
        answer=BackendRecord,
        faults=("not_found",),
    ),
    Route(
        "PATCH",
        "/v1/backends/{name:path}",
        change_backend,
        "Change a backend's state, weight or labels",
        BackendChange,
        BackendRecord,
        faults=("not_found", "scope_missing"),
    ),
    Route(
        "DELETE", "/v1/backends/{name:path}", delete_backend, "Remove a backend", faults=("not_found", "scope_missing")
    ),
    *WEBHOOK_ROUTES,
    *POOL_ROUTES,
    *USAGE_ROUTES,
)
"""Every operation of v1. Order matters where a literal path and a parameter could both match."""
