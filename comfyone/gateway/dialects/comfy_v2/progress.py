"""How far a job has come, and which node class is at work."""

from __future__ import annotations

from collections.abc import Mapping

from comfyone.gateway.dialects.comfy_v2.records import V2Progress
from comfyone.gateway.dialects.comfy_v2.site import site_of
from comfyone.gateway.dialects.routing import Call
from comfyone.gateway.domain.progress import Snapshot

__all__ = ["progress_of"]

MAX_KNOWN = 256
"""Jobs whose node classes are remembered."""


async def progress_of(call: Call, job_id: str) -> V2Progress | None:
    """Of a job that is the caller's; None while nothing is known."""
    snapshot: Snapshot | None = call.services.dispatcher.snapshot(job_id)
    if snapshot is None or not snapshot.nodes_total:
        return None
    classes = await _classes_of(call, job_id) if snapshot.node_id else {}
    return _record(snapshot, classes.get(snapshot.node_id or ""))


async def _classes_of(call: Call, job_id: str) -> Mapping[str, str]:
    classes, key = site_of(call).classes, (job_id, call.principal.workflows)
    known = classes.get(key)
    if known is None:
        known = classes[key] = await call.services.jobs.classes(call.principal, job_id)
        if len(classes) > MAX_KNOWN:
            classes.popitem(last=False)
    return known


def _record(snapshot: Snapshot, class_: str | None) -> V2Progress:
    step, steps = _whole(snapshot.step), _whole(snapshot.steps)
    label = class_ or snapshot.node_id
    return V2Progress(
        value=min(max(snapshot.percent / 100, 0.0), 1.0),
        nodes_done=snapshot.nodes_done,
        nodes_total=snapshot.nodes_total,
        current_node=snapshot.node_id,
        current_node_class=class_,
        step=step,
        steps=steps,
        message=f"{label} {step}/{steps}" if label and steps else label,
    )


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)
