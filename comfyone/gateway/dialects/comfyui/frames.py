"""Messages of a ComfyUI socket, made for one tenant from what its jobs' servers say. Pure.

A job is called by the id that its caller gave it, and its files lie in a folder that bears the job's own id, so that they
can't be mistaken however many servers made them.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from comfyone.gateway.dialects.comfyui.entries import ending_of
from comfyone.gateway.dialects.comfyui.outbox import Frame, Rank
from comfyone.gateway.domain.evidence import Preview
from comfyone.gateway.domain.jobs import Job, JobState

__all__ = [
    "addressed",
    "detailed_preview",
    "ending",
    "message",
    "named_outputs",
    "plain_preview",
    "stamped",
    "status",
    "text",
]

Data = dict[str, Any]

PREVIEW, PREVIEW_WITH_METADATA = 1, 4
FORMATS = {"image/jpeg": 1, "image/png": 2}

_RANKS = {"progress": Rank.PROGRESS, "progress_state": Rank.PROGRESS, "status": Rank.STATUS}


def message(type_: str, data: Mapping[str, Any]) -> Frame:
    content = msgspec.json.encode({"type": type_, "data": data}).decode()
    return Frame(content, _RANKS.get(type_, Rank.LASTING))


def status(remaining: int, **more: Any) -> Frame:
    """How many prompts of the tenant wait or run."""
    return message("status", {"status": {"exec_info": {"queue_remaining": remaining}}, **more})


def addressed(said: Mapping[str, Any], job_id: str, prompt_id: str) -> Data:
    """The data of a message that a server sent, for the one whose job it is about."""
    data = {**said["data"], "prompt_id": prompt_id}
    if isinstance(nodes := data.get("nodes"), dict):  # of progress_state
        data["nodes"] = {node_id: _of_prompt(state, prompt_id) for node_id, state in nodes.items()}
    if isinstance(output := data.get("output"), dict):
        data["output"] = named_outputs(output, job_id)
    return data


def _of_prompt(state: Any, prompt_id: str) -> Any:
    return {**state, "prompt_id": prompt_id} if isinstance(state, dict) and "prompt_id" in state else state


def named_outputs(output: Mapping[str, Any], job_id: str) -> Data:
    """What a node shows, its files named as the tenant may ask for them."""
    return {
        key: [_named(item, job_id) for item in items] if isinstance(items, list) else items
        for key, items in output.items()
    }


def _named(item: Any, job_id: str) -> Any:
    if not isinstance(item, dict) or not isinstance(item.get("filename"), str):
        return item
    folder = item.get("subfolder")
    named = {**item, "subfolder": f"{job_id}/{folder}" if folder else job_id, "type": item.get("type") or "output"}
    named.pop("fullpath", None)  # a path on the server
    return named


def plain_preview(preview: Preview) -> Frame | None:
    """A preview for those who understand no details; None when it has a format that they don't know."""
    if (form := FORMATS.get(preview.mime)) is None:
        return None
    return Frame(struct.pack(">II", PREVIEW, form) + preview.content, Rank.PREVIEW)


def detailed_preview(preview: Preview, about: Mapping[str, Any], prompt_id: str) -> Frame:
    metadata = msgspec.json.encode({**about, "prompt_id": prompt_id})
    head = struct.pack(">II", PREVIEW_WITH_METADATA, len(metadata))
    return Frame(b"".join((head, metadata, preview.content)), Rank.PREVIEW)


def text(frame: bytes) -> Frame:
    """What a node says, which names no prompt."""
    return Frame(frame, Rank.PROGRESS)


def ending(
    state: str, prompt_id: str, said: Mapping[str, Any] | None, job: Job | None, *, interrupted: bool = False
) -> tuple[str, Data] | None:
    """The message of a job's end, after our own record of it: in the server's words where those say the same.

    Args:
        state: How the job ended.
        said: The end that the server announced, if it did and we heard it.
        job: The job at its end, when ``said`` does not say all.
        interrupted: Whether it failed because somebody stopped it on its backend.
    """
    type_ = said["type"] if said else None
    if state == JobState.SUCCEEDED:
        return "execution_success", _end_of(said if type_ == "execution_success" else None, prompt_id)
    stopped = interrupted or state != JobState.FAILED
    if type_ == ("execution_interrupted" if stopped else "execution_error"):
        return type_, _end_of(said, prompt_id)
    if job is not None and (state == JobState.FAILED or job.started_at is not None):
        type_, told = ending_of(state, job.error)
        return type_, {**told, **stamped(prompt_id)}
    return None  # it never began: a prompt that is taken out of the queue leaves it without a word


def _end_of(said: Mapping[str, Any] | None, prompt_id: str) -> Data:
    return {**said["data"], "prompt_id": prompt_id} if said else stamped(prompt_id)


def stamped(prompt_id: str) -> Data:
    """What a message says of a prompt that says no more than that something has happened."""
    return {"prompt_id": prompt_id, "timestamp": int(time.time() * 1000)}
