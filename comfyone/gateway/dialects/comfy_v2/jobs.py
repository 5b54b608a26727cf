"""The operations on jobs; docs/reference/comfy-api-v2.md says what each means."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import msgspec
from blake3 import blake3
from starlette.responses import Response

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode
from comfyone.gateway.dialects.comfy_v2.checks import check_workflow
from comfyone.gateway.dialects.comfy_v2.cursors import Listing
from comfyone.gateway.dialects.comfy_v2.events import story_of
from comfyone.gateway.dialects.comfy_v2.faults import Refusal
from comfyone.gateway.dialects.comfy_v2.labels import check_labels, filters_of
from comfyone.gateway.dialects.comfy_v2.progress import progress_of
from comfyone.gateway.dialects.comfy_v2.records import (
    PRIORITY,
    V2Job,
    V2JobItem,
    V2JobPage,
    V2Workflow,
    item_record,
    job_record,
)
from comfyone.gateway.dialects.comfy_v2.references import References
from comfyone.gateway.dialects.comfy_v2.results import parse_result_id
from comfyone.gateway.dialects.comfy_v2.site import site_of
from comfyone.gateway.dialects.comfy_v2.statuses import STATUSES, standings_of
from comfyone.gateway.dialects.routing import GRAPH_FAULTS, Call, Query, Route
from comfyone.gateway.domain.files import Asset, asset_path
from comfyone.gateway.domain.jobs import TERMINAL
from comfyone.gateway.domain.workflows import check_extent
from comfyone.gateway.services.submissions import Submission

__all__ = ["JOB_ROUTES", "V2JobBody", "engine_priority"]

DAY = 24 * 3600.0
MAX_KEY = 255
MAX_PRIORITY = 1_000_000
MAX_PAGE = 100
PARTNER_KEY = "api_key_comfy_org"
LARGE = 256 * 1024
"""Bytes of a body from which its workflow is looked at beside the event loop."""

RESERVED = ("webhook_url", "inputs")


class V2ExtraData(msgspec.Struct, frozen=True):
    api_key_comfy_org: str | msgspec.UnsetType = msgspec.UNSET


class V2JobBody(msgspec.Struct, frozen=True):
    """``workflow`` in API format; ``metadata``: labels by which the job is found again."""

    workflow: dict[str, Any]
    extra_data: V2ExtraData | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, str] | None = None
    priority: int | None = None


async def submit_job(call: Call) -> V2Job:
    raw = await call.bytes()
    body = decode(raw, dict[str, Any])
    key = _key_of(call)
    if key and await call.services.jobs.is_used(call.principal, key, DAY):
        raise _used()  # whatever else may be wrong with the request
    metadata, secrets = _metadata_of(body), _secrets_of(body.get("extra_data"))
    workflow = _workflow_of(body)
    await _place_assets(call, workflow)
    graph = await _named_files_placed(call, workflow)
    catalog = await call.services.node_info.catalog(call.principal)
    await (asyncio.to_thread if len(raw) > LARGE else _at_once)(check_workflow, graph, catalog)
    submission = Submission(
        graph=graph,
        raw=msgspec.json.encode(graph),
        metadata=metadata,
        priority=engine_priority(int(metadata.get(PRIORITY, "0"))),
        secrets=secrets,
        idempotency_key=key,
        key_lifetime=DAY,
        sure=True,
    )
    job_id, replayed = await call.services.jobs.submit(call.principal, submission)
    if replayed:
        raise _used()
    return await _record(call, job_id)


async def list_jobs(call: Call) -> V2JobPage:
    query = call.request.query_params
    metadata = filters_of(call.request.scope["query_string"])
    statuses = [status for status in query.get("status", "").split(",") if status]
    standings, limit = standings_of(statuses), _limit_of(query.get("limit"))
    listing = Listing(call.principal.tenant_id, metadata, statuses)
    before = listing.place(query["cursor"]) if query.get("cursor") else None
    if statuses and not standings:
        return V2JobPage([])  # what is past its time is not known any more
    found = await call.services.jobs.listed(
        call.principal, limit=limit + 1, before=before, metadata=metadata, standings=standings
    )
    page: list[V2JobItem] = [item_record(view, labels) for view, labels in found[:limit]]
    return V2JobPage(page, listing.cursor(page[-1].id) if len(found) > limit else None)


async def get_job(call: Call) -> V2Job:
    return await _record(call, call.path("id"))


async def get_job_workflow(call: Call) -> V2Workflow:
    return V2Workflow(await call.services.jobs.graph(call.principal, call.path("id")))


async def stream_job(call: Call) -> Response:
    await call.services.jobs.get(call.principal, call.path("id"))  # an unknown job is a 404 and no empty stream
    if call.request.method == "HEAD":
        return Response(media_type="text/event-stream")  # or it would be kept open for nothing
    return story_of(call, call.path("id"))


async def cancel_job(call: Call) -> V2Job:
    job_id = call.path("id")
    if (await call.services.jobs.get(call.principal, job_id)).job.state not in TERMINAL:
        try:
            await call.services.jobs.cancel(call.principal, job_id)
        except Fault as fault:
            if fault.slug != "job_finished":  # a moment ago, which is as good
                raise
    return await _record(call, job_id)


async def _record(call: Call, job_id: str) -> V2Job:
    view, metadata = await call.services.jobs.labelled(call.principal, job_id)
    progress = None if view.job.state in TERMINAL else await progress_of(call, job_id)
    return job_record(view, metadata, progress, site_of(call).links(call), site_of(call).retention)


_LIST_QUERY = (
    Query("limit", f"jobs on a page, up to {MAX_PAGE}", int, 50, 1, MAX_PAGE),
    Query("cursor", "the next_cursor of the page before, with the same filters"),
    Query("status", f"only jobs of these statuses, with commas between: {', '.join(STATUSES)}"),
    Query("metadata[key]", "only jobs with this label; up to three keys"),
)


def engine_priority(wished: int) -> int:
    """What a priority from -1 000 000 to 1 000 000 is worth in the queue: one step is a minute of waiting.

    Up to 10 it counts as it is; above, two steps for every ten times more. So the most that can be asked for puts a job 20
    minutes ahead of those of its tenant that ask for nothing, and none starves.
    """
    size = abs(wished)
    steps = size if size <= 10 else 10 + math.ceil(2 * math.log10(size / 10) - 1e-9)
    return steps if wished > 0 else -steps


async def _at_once(check: Callable[..., None], *arguments: Any) -> None:
    check(*arguments)


def _key_of(call: Call) -> str | None:
    """The idempotency key as the store keeps it: apart from those of other dialects, and short."""
    key = call.header(b"idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        raise Refusal(400, "invalid_request", f"an Idempotency-Key has 1 to {MAX_KEY} printable ASCII characters")
    return f"comfy-v2 {blake3(key.encode()).hexdigest()}"


def _used() -> Refusal:
    return Refusal(422, "idempotency_key_reuse", "this Idempotency-Key was used before; a key is good for one job")


def _metadata_of(body: dict[str, Any]) -> dict[str, str]:
    """The labels, and the priority beside them."""
    labels, priority = check_labels(body.get("metadata")), body.get("priority")
    if priority is None:
        return labels
    if type(priority) is not int or abs(priority) > MAX_PRIORITY:
        raise Refusal(400, "invalid_request", f"priority is not a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}")
    return {**labels, PRIORITY: str(priority)}


def _secrets_of(extra: Any) -> dict[str, str]:
    if extra is None:
        return {}
    if not isinstance(extra, dict) or extra.keys() - {PARTNER_KEY}:
        raise Refusal(400, "invalid_request", f"extra_data takes {PARTNER_KEY} and nothing else")
    if any(not isinstance(value, str) for value in extra.values()):
        raise Refusal(400, "invalid_request", f"extra_data.{PARTNER_KEY} is not a string")
    return extra


def _workflow_of(body: dict[str, Any]) -> dict[str, Any]:
    for name in RESERVED:
        if body.get(name) is not None:
            raise Refusal(422, "invalid_workflow", f"{name} is reserved and not served")
    workflow = body.get("workflow")
    if not isinstance(workflow, dict) or not workflow:
        raise Refusal(422, "invalid_workflow", "workflow is not an object of nodes, or has none")
    if isinstance(workflow.get("nodes"), list) and "links" in workflow:
        raise Refusal(422, "workflow_format_ui", "this is the editor's format; export the workflow in API format")
    check_extent(workflow)
    return workflow


async def _place_assets(call: Call, workflow: dict[str, Any]) -> None:
    references = References(workflow)
    found = {asset_id: await _asset_of(call, asset_id) for asset_id in references.ids}
    references.replace({asset_id: asset_path(asset) for asset_id, asset in found.items() if asset})


async def _asset_of(call: Call, asset_id: str) -> Asset | None:
    """An upload, or a file that a job made."""
    try:
        if place := parse_result_id(asset_id):
            asset: Asset | None = (await call.services.jobs.output(call.principal, *place)).asset
            return asset
        upload: Asset = await call.services.files.upload_of(call.principal, asset_id)
        return upload
    except Fault as fault:
        if fault.slug != "not_found":
            raise
        return None


async def _named_files_placed(call: Call, workflow: dict[str, Any]) -> Any:
    """The workflow with plain names of uploads led to them; what is no graph stays as it is, and is refused later."""
    if not all(isinstance(node, dict) and _is_node(node) for node in workflow.values()):
        return workflow
    return await call.services.folders.resolve(call.principal, workflow)


def _is_node(node: dict[str, Any]) -> bool:
    return isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _limit_of(text: str | None) -> int:
    if text is None or text == "":
        return 50
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MAX_PAGE):
        raise Refusal(400, "invalid_request", f"?limit={text[:40]} is not a whole number from 1 to {MAX_PAGE}")
    return int(text)


JOB_ROUTES = (
    Route(
        "POST",
        "/api/v2/jobs",
        submit_job,
        "Run a workflow",
        V2JobBody,
        V2Job,
        status=201,
        faults=GRAPH_FAULTS,
    ),
    Route("GET", "/api/v2/jobs", list_jobs, "Jobs, newest first", answer=V2JobPage, query=_LIST_QUERY),
    Route("GET", "/api/v2/jobs/{id}", get_job, "A job", answer=V2Job, faults=("not_found",)),
    Route(
        "GET",
        "/api/v2/jobs/{id}/workflow",
        get_job_workflow,
        "The workflow that a job runs",
        answer=V2Workflow,
        faults=("not_found",),
    ),
    Route(
        "GET",
        "/api/v2/jobs/{id}/events",
        stream_job,
        "What happens to a job, as server-sent events",
        media="text/event-stream",
        faults=("not_found", "rate_limited"),
    ),
    Route(
        "POST",
        "/api/v2/jobs/{id}/cancel",
        cancel_job,
        "Cancel a job",
        answer=V2Job,
        faults=("not_found",),
    ),
)
