"""The queue and the history as one list of jobs, as newer servers have it: their page asks for nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.dialects.comfyui.bodies import JobIds
from comfyone.gateway.dialects.comfyui.codec import MAX_TEXT, ComfyUICodec, json_answer
from comfyone.gateway.dialects.comfyui.entries import (
    ending_of,
    history_entry,
    number_of,
    queue_entry,
    span_of,
    ui_of,
    written,
)
from comfyone.gateway.dialects.comfyui.previews import gist_of
from comfyone.gateway.dialects.comfyui.tables import native
from comfyone.gateway.dialects.routing import Call, Query
from comfyone.gateway.domain.ids import made_at
from comfyone.gateway.domain.jobs import TERMINAL, Job
from comfyone.gateway.domain.prompts import Listing, PromptStatus, status_of, workflow_of
from comfyone.gateway.ports import Listed, Prompt
from comfyone.gateway.services.prompts import MAX_SHOWN

__all__ = ["JOB_ROUTES", "job_record"]

_codec = ComfyUICodec()
_SORTS = ("created_at", "execution_duration")
_ORDERS = ("desc", "asc")

Handler = Callable[[Call], Awaitable[Any]]


def _telling(handler: Handler) -> Handler:
    """These routes alone tell of a refusal in an object of their own."""

    @wraps(handler)
    async def answer(call: Call) -> Any:
        try:
            return await handler(call)
        except Fault as fault:
            return json_answer({"error": fault.message[:MAX_TEXT]}, _codec.status(fault.slug))

    return answer


@_telling
async def get_job_list(call: Call) -> Any:
    listing = _listing(call)
    found, total = await call.services.prompts.listed(call.principal, listing)
    records = await written(found, job_record)
    return {
        "jobs": records,
        "pagination": {
            "offset": listing.offset,
            "limit": listing.limit,
            "total": total,
            "has_more": listing.offset + len(records) < total,
        },
    }


def _listing(call: Call) -> Listing:
    query = call.request.query_params
    statuses = [part.strip().lower() for part in query.get("status", "").split(",") if part.strip()]
    for status in statuses:
        _check("status", status, tuple(PromptStatus))
    return Listing(
        statuses=frozenset(map(PromptStatus, statuses if query.get("status") else PromptStatus)),
        workflow_id=query.get("workflow_id") or None,
        by_duration=_check("sort_by", query.get("sort_by", _SORTS[0]).lower(), _SORTS) == "execution_duration",
        ascending=_check("sort_order", query.get("sort_order", _ORDERS[0]).lower(), _ORDERS) == "asc",
        limit=call.number("limit"),
        offset=max(0, call.number("offset")),
    )


def _check(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise Fault("invalid_body", f"?{name}={value[:40]} is none of {', '.join(choices)}", field=name)
    return value


@_telling
async def get_job_entry(call: Call) -> Any:
    job_id = call.path("job_id")
    prompt = await call.services.prompts.find(call.principal, job_id)
    if prompt is None:
        raise Fault("not_found", f"no job '{job_id[:200]}'", field="job_id")
    return _details(prompt)


@_telling
async def cancel_job_entry(call: Call) -> Any:
    return {"cancelled": await call.services.prompts.cancel(call.principal, [call.path("job_id")])}


@_telling
async def cancel_job_entries(call: Call) -> Any:
    body: JobIds = await call.body()
    return {"cancelled": await call.services.prompts.cancel(call.principal, body.job_ids)}


def job_record(listed: Listed) -> dict[str, Any]:
    """A job in a list. What there is nothing to say of is left out."""
    job = listed.view.job
    gist = gist_of(ui_of(job.id, listed.view.outputs))
    told = {
        "id": listed.id,
        "status": status_of(job),
        "priority": number_of(made_at(job.id), listed.front),
        "create_time": int(job.created_at * 1000),
        **(_run(listed.id, job) if job.state in TERMINAL else {}),
        "outputs_count": gist.count,
        "previewable_outputs_count": gist.showable,
        "preview_output": gist.preview,
        "workflow_id": listed.workflow_id,
    }
    return {name: value for name, value in told.items() if value is not None}


def _run(prompt_id: str, job: Job) -> dict[str, Any]:
    """When a job ran, and why it failed."""
    began, ended = span_of(job)
    span = {"execution_start_time": began, "execution_end_time": ended}
    kind, told = ending_of(job.state, job.error)
    if kind != "execution_error":
        return span
    # where no node is at fault: the page takes no null there, nor then anything else of the whole list
    place = {name: told[name] or "" for name in ("node_id", "node_type")}
    return {**span, "execution_error": {"prompt_id": prompt_id, **told, **place, "timestamp": ended}}


def _details(prompt: Prompt) -> dict[str, Any]:
    origin = prompt.origin
    workflow_id = workflow_of(origin.extra_data) if origin else None
    record = job_record(Listed(prompt.view, prompt.id, bool(origin and origin.front), workflow_id))
    ended = history_entry(prompt, None) if prompt.view.job.state in TERMINAL else None
    _, _, graph, extra, _ = ended["prompt"] if ended else queue_entry(prompt, None)
    made = {"outputs": ended["outputs"], "execution_status": ended["status"]} if ended else {}
    return {**record, **made, "workflow": {"prompt": graph, "extra_data": extra}}


_REFUSED = {400: '`{"error"}` says what the query or the body may not hold'}
_UNKNOWN = {404: '`{"error"}`: there is no such job'}
_OBJECT: dict[str, Any] = {"answer": dict[str, Any]}

JOB_ROUTES = (
    native(
        "GET",
        "/jobs",
        get_job_list,
        "The queue and the history as one list",
        query=(
            Query("status", f"only jobs of these statuses, with commas between: {', '.join(PromptStatus)}"),
            Query("workflow_id", "only jobs of this workflow of the page"),
            Query("sort_by", f"{' or '.join(_SORTS)}", default=_SORTS[0]),
            Query("sort_order", f"{' or '.join(_ORDERS)}", default=_ORDERS[0]),
            Query("limit", f"jobs on a page, up to {MAX_SHOWN}", int, MAX_SHOWN, 1, MAX_SHOWN),
            Query("offset", "how many to leave out before the first", int, 0),
        ),
        also=_REFUSED,
        **_OBJECT,
    ),
    native("GET", "/jobs/{job_id}", get_job_entry, "A job with its graph and outputs", also=_UNKNOWN, **_OBJECT),
    native("POST", "/jobs/{job_id}/cancel", cancel_job_entry, "Cancel a job, if it has not ended", **_OBJECT),
    native(
        "POST",
        "/jobs/cancel",
        cancel_job_entries,
        "Cancel jobs that have not ended",
        body=JobIds,
        also=_REFUSED,
        **_OBJECT,
    ),
)
