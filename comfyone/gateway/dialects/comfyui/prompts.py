"""Queueing graphs, and the queue."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from blake3 import blake3
from starlette.responses import Response

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode
from comfyone.gateway.dialects.comfyui.bodies import Changes, Free, Interrupt, PromptBody
from comfyone.gateway.dialects.comfyui.codec import ComfyUICodec, json_answer
from comfyone.gateway.dialects.comfyui.entries import number_of, queue_entry, told
from comfyone.gateway.dialects.comfyui.refusals import Verdict, judge, misshapen, refusal, refusal_of
from comfyone.gateway.dialects.comfyui.tables import native
from comfyone.gateway.dialects.routing import GRAPH_FAULTS, Call, refusal_headers
from comfyone.gateway.domain.ids import made_at
from comfyone.gateway.domain.jobs import Origin
from comfyone.gateway.domain.prompts import WORKFLOW, workflow_of
from comfyone.gateway.domain.tenants import Scope
from comfyone.gateway.domain.workflows import Values, check_extent
from comfyone.gateway.services.submissions import Submission

__all__ = ["PROMPT_ROUTES"]

MANY = 500
"""Nodes of a graph that is judged aside, so that nobody waits meanwhile."""

_codec = ComfyUICodec()
_FAULTS = (*GRAPH_FAULTS, "conflict")


async def get_prompt(call: Call) -> Any:
    return {"exec_info": {"queue_remaining": await call.services.prompts.remaining(call.principal)}}


async def post_prompt(call: Call) -> Response:
    """Every refusal of a graph is told in one form, whoever refuses it."""
    try:
        return await _submit(call)
    except Fault as fault:
        response = json_answer({"error": refusal_of(fault), "node_errors": {}}, _codec.status(fault.slug))
        response.headers.update({**fault.headers, **refusal_headers(fault, response.status_code, "Basic")})
        return response


async def _submit(call: Call) -> Response:
    call.principal.require(Scope.GRAPHS)
    raw = await call.bytes()
    body = decode(raw, PromptBody)
    if not bytes(body.prompt):
        return _refused(Verdict(refusal("no_prompt", "No prompt provided", "No prompt provided")))
    graph: Any = decode(bytes(body.prompt), Any)
    check_extent(graph, field="prompt")
    catalog = await call.services.node_info.catalog(call.principal)
    if error := misshapen(graph, catalog):
        return _refused(Verdict(error))
    values, unresolved = await call.services.folders.values(call.principal, graph)
    found = {(node_id, name) for node_id, inputs in values.items() for name in inputs}
    judged = partial(judge, graph, catalog, body.partial_execution_targets, found, unresolved)
    verdict = judged() if len(graph) < MANY else await asyncio.to_thread(judged)
    if verdict.error:
        return _refused(verdict)
    origin = _origin(body, verdict)
    job_id, _ = await call.services.jobs.submit(call.principal, _submission(call, raw, graph, body, values, origin))
    number = number_of(made_at(job_id), origin.front) if body.number is None else body.number
    return json_answer({"prompt_id": origin.prompt_id or job_id, "number": number, "node_errors": verdict.node_errors})


def _refused(verdict: Verdict) -> Response:
    return json_answer(verdict.body, 400)


def _origin(body: PromptBody, verdict: Verdict) -> Origin:
    """Where a part of the outputs can't run, the others are the ones to run."""
    narrowed = body.partial_execution_targets is not None or bool(verdict.node_errors)
    return Origin(
        client_id=body.client_id or None,
        prompt_id=body.prompt_id or None,
        extra_data=body.extra_data or {},
        targets=verdict.outputs if narrowed else (),
        front=bool(body.front) or (body.number or 0) < 0,
    )


def _submission(call: Call, raw: bytes, graph: Any, body: PromptBody, values: Values, origin: Origin) -> Submission:
    return Submission(
        graph=graph,
        raw=bytes(body.prompt),
        values=values,
        origin=origin,
        metadata=_remembered(origin),
        idempotency_key=call.header(b"idempotency-key"),
        digest=blake3(b"/prompt\0" + raw).digest(),
    )


def _remembered(origin: Origin) -> dict[str, str]:
    """What the list of jobs is asked by, and ought not look for in every prompt's extra data."""
    workflow_id = workflow_of(origin.extra_data)
    return {} if workflow_id is None else {WORKFLOW: workflow_id}


async def get_queue(call: Call) -> Any:
    running, waiting = await call.services.prompts.queue(call.principal)
    return {
        "queue_running": await told(call, running, queue_entry),
        "queue_pending": await told(call, waiting, queue_entry),
    }


async def change_queue(call: Call) -> None:
    body: Changes = await call.body()
    if body.clear:
        await call.services.prompts.empty(call.principal)
    await call.services.prompts.delete(call.principal, body.delete or ())


async def interrupt(call: Call) -> None:
    """What is no JSON, or empty, stops whatever runs, as it does there."""
    try:
        body = decode(await call.bytes(), Interrupt)
    except Fault as fault:
        if fault.slug != "invalid_json":
            raise
        body = Interrupt()
    await call.services.prompts.interrupt(call.principal, body.prompt_id or None)


async def free(call: Call) -> None:
    body: Free = await call.body()
    await call.services.backends.free(call.principal, cache=bool(body.free_memory), models=bool(body.unload_models))


PROMPT_ROUTES = (
    native("GET", "/prompt", get_prompt, "How many prompts wait or run", answer=dict[str, dict[str, int]]),
    native(
        "POST",
        "/prompt",
        post_prompt,
        "Queue a graph",
        body=PromptBody,
        answer=dict[str, Any],
        faults=_FAULTS,
        refusals=("application/json", "text/plain"),
    ),
    native("GET", "/queue", get_queue, "What runs and what waits", answer=dict[str, list[list[Any]]]),
    native("POST", "/queue", change_queue, "Take prompts out of the queue", body=Changes, media=""),
    native("POST", "/interrupt", interrupt, "Stop what runs", body=Interrupt, media=""),
    native("POST", "/free", free, "Ask for memory to be freed", body=Free, media="", scope=Scope.BACKENDS),
)
