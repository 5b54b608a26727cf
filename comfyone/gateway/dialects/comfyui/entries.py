"""Entries of the queue and of the history, written as ComfyUI writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from comfyone.gateway.dialects.routing import Call
from comfyone.gateway.domain.files import Output
from comfyone.gateway.domain.ids import made_at
from comfyone.gateway.domain.jobs import INTERRUPTED, Failure, Job, JobState
from comfyone.gateway.ports import Prompt
from comfyone.graph.catalog import Catalog
from comfyone.graph.document import Graph, with_values

__all__ = ["ending_of", "history_entry", "number_of", "queue_entry", "span_of", "told", "ui_of", "written"]

Item = TypeVar("Item")
T = TypeVar("T")

FEW = 20
"""Entries that are written in place; more of them are written beside the event loop."""


async def written(items: Sequence[Item], write: Callable[[Item], T]) -> list[T]:
    """Each of them, written: a few in place, more beside the event loop."""

    def entries() -> list[T]:
        return [write(item) for item in items]

    return entries() if len(items) <= FEW else await asyncio.to_thread(entries)


async def told(call: Call, prompts: Sequence[Prompt], write: Callable[[Prompt, Catalog | None], T]) -> list[T]:
    """Every prompt, written with what is known of its node classes."""
    if not prompts:
        return []
    catalog = await call.services.node_info.catalog(call.principal)
    return await written(prompts, lambda prompt: write(prompt, catalog))


def number_of(created_at: float, front: bool) -> int:
    """The number of a prompt: milliseconds since the epoch, so that they count up; below zero for one from the front."""
    number = int(created_at * 1000)
    return -number if front else number


def queue_entry(prompt: Prompt, catalog: Catalog | None) -> list[Any]:
    """Number, id, graph, extra data, and the output nodes to run."""
    job, origin = prompt.view.job, prompt.origin
    graph: Graph = msgspec.json.decode(prompt.graph)
    shown: Any = msgspec.Raw(prompt.graph) if origin else with_values(graph, msgspec.json.decode(prompt.values))
    extra = {**(origin.extra_data if origin else {}), "create_time": int(job.created_at * 1000)}
    if origin and origin.client_id:
        extra["client_id"] = origin.client_id
    number = number_of(made_at(job.id), bool(origin and origin.front))
    return [number, prompt.id, shown, extra, _outputs(prompt, graph, catalog)]


def history_entry(prompt: Prompt, catalog: Catalog | None) -> dict[str, Any]:
    """How a job ended, and what it made."""
    job = prompt.view.job
    outputs = ui_of(job.id, prompt.view.outputs)
    return {
        "prompt": queue_entry(prompt, catalog),
        "outputs": outputs,
        "status": {
            "status_str": "success" if job.state is JobState.SUCCEEDED else "error",
            "completed": job.state is JobState.SUCCEEDED,
            "messages": _messages(prompt),
        },
        "meta": {
            node_id: {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
            for node_id in outputs
        },
    }


def ui_of(job_id: str, outputs: Any) -> dict[str, dict[str, Any]]:
    """What each node made, under the server's own words for it. Files lie in a folder named by the job: so their names are
    the tenant's own, however many servers it has."""
    told: dict[str, dict[str, Any]] = {}
    for output in outputs:
        node = told.setdefault(output.node_id, {})
        if output.asset is not None:
            key, file = _file(job_id, output)
            node.setdefault(key, []).append(file)
        elif output.file and output.file.single:
            node[output.kind] = msgspec.Raw(output.value or b"null")
        else:
            node.setdefault(output.kind, []).append(msgspec.Raw(output.value or b"null"))
        node.update(output.file.remarks if output.file else {})
    return told


def _file(job_id: str, output: Output) -> tuple[str, dict[str, Any]]:
    if output.file is None:  # of a job that came in other words
        key = {"image": "images", "audio": "audio", "video": "images"}.get(output.kind, "files")
        return key, {"filename": output.name, "subfolder": job_id, "type": "output"}
    subfolder = f"{job_id}/{output.file.subfolder}" if output.file.subfolder else job_id
    named = {"filename": output.file.filename, "subfolder": subfolder, "type": output.file.type}
    return output.file.key, {**named, **output.file.more}


def _outputs(prompt: Prompt, graph: Graph, catalog: Catalog | None) -> list[str]:
    """The output nodes to run: those asked for, or all that the graph has."""
    if prompt.origin and prompt.origin.targets:
        return list(prompt.origin.targets)
    if catalog is None:
        return sorted({output.node_id for output in prompt.view.outputs})
    known = (node_id for node_id, node in graph.items() if node["class_type"] in catalog)
    return [node_id for node_id in known if catalog[graph[node_id]["class_type"]].output_node]


def _messages(prompt: Prompt) -> list[list[Any]]:
    began, ended = span_of(prompt.view.job)
    kind, told = ending_of(prompt.view.job.state, prompt.view.job.error)
    return [
        ["execution_start", {"prompt_id": prompt.id, "timestamp": began}],
        ["execution_cached", {"nodes": [], "prompt_id": prompt.id, "timestamp": began}],
        [kind, {"prompt_id": prompt.id, **told, "timestamp": ended}],
    ]


def span_of(job: Job) -> tuple[int, int]:
    """When a job that has ended began and ended, in milliseconds."""
    began = job.started_at or job.dispatched_at or job.finished_at or job.created_at
    return int(began * 1000), int((job.finished_at or began) * 1000)


def ending_of(state: str, error: Failure | None) -> tuple[str, dict[str, Any]]:
    """The message of how a job has ended, but for its id and the time; the socket and the history say the same."""
    if state == JobState.SUCCEEDED:
        return "execution_success", {}
    if state == JobState.CANCELLED:
        return "execution_interrupted", {"node_id": None, "node_type": None, "executed": []}
    failure = error or Failure("failed", "the job failed")
    if failure.type == INTERRUPTED:
        return "execution_interrupted", {"node_id": failure.node_id, "node_type": failure.node_type, "executed": []}
    return "execution_error", {
        "node_id": failure.node_id,
        "node_type": failure.node_type,
        "executed": [],
        "exception_message": failure.reason,
        "exception_type": failure.exception or failure.type,
        "traceback": list(failure.traceback),
        "current_inputs": {},
        "current_outputs": [],
    }
