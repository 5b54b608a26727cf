"""What a ComfyUI says over its socket, read into typed events. Pure, and tolerant of what is missing or new.

Checked against ComfyUI 0.3.75. A binary frame begins with four bytes that say its kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image

__all__ = [
    "GREETING",
    "Event",
    "Executed",
    "Executing",
    "ExecutionCached",
    "ExecutionError",
    "ExecutionInterrupted",
    "ExecutionStart",
    "ExecutionSuccess",
    "NodeState",
    "Preview",
    "Progress",
    "ProgressState",
    "Status",
    "Text",
    "Unknown",
    "event_of",
    "message_of",
    "read_binary",
]

GREETING = '{"type":"feature_flags","data":{"supports_preview_metadata":true}}'
"""The first frame that we send: from then on a preview says which prompt it belongs to."""

_PREVIEW, _TEXT, _PREVIEW_WITH_METADATA = 1, 3, 4
_FORMATS = {1: "image/jpeg", 2: "image/png"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that a server said. ``prompt_id`` is None where it does not say of which prompt."""

    prompt_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Event):
    """How many prompts wait or run; the first one of a connection has its ``sid``."""

    queue_remaining: int | None = None
    sid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStart(Event):
    """A prompt begins."""

    timestamp: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionCached(Event):
    """These nodes need not run again."""

    nodes: tuple[str, ...] = ()
    timestamp: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Executing(Event):
    """A node begins. Without a node the prompt is over and its history is written."""

    node: str | None = None
    display_node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """A node has done ``value`` of ``max`` steps."""

    node: str | None = None
    value: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeState:
    """How far one node is; ``state`` is pending, running, finished or error."""

    node_id: str
    state: str
    value: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressState(Event):
    """How far all nodes are that have begun."""

    nodes: Mapping[str, NodeState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed(Event):
    """A node has ended and shows this."""

    node: str | None = None
    display_node: str | None = None
    output: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSuccess(Event):
    """All nodes have run. The history may not know it for another moment."""

    timestamp: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionError(Event):
    """A node raised, and the prompt ends."""

    node_id: str | None = None
    node_type: str | None = None
    exception_type: str | None = None
    exception_message: str | None = None
    traceback: tuple[str, ...] = ()
    executed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionInterrupted(Event):
    """Somebody stopped the prompt."""

    node_id: str | None = None
    node_type: str | None = None
    executed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(Event):
    """A picture of what a node is making. ``node`` is known when the server says so (it does since 0.3.40)."""

    mime: str
    content: bytes = field(repr=False)
    node: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image(self) -> Image.Image:
        """The picture, decoded now."""
        return Image.open(BytesIO(self.content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Event):
    """A text about a node, for people."""

    node: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """Something that we have no type for, such as what custom nodes say."""

    type: str
    data: Any = None


def message_of(frame: str | bytes) -> dict[str, Any] | None:
    """A text frame as a message, or None if it is none."""
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and isinstance(message.get("type"), str) else None


def event_of(message: Mapping[str, Any]) -> Event:
    """A message as an event."""
    kind, data = str(message.get("type")), message.get("data")
    reader = _READERS.get(kind)
    if reader is None or not isinstance(data, dict):
        prompt_id = data.get("prompt_id") if isinstance(data, dict) else None
        return Unknown(prompt_id=_text(prompt_id), type=kind, data=data)
    return reader(data)


def read_binary(frame: bytes) -> Event | None:
    """A binary frame as an event: a preview, a text, or None when it is too short to be anything."""
    if len(frame) < 8:
        return None
    kind, rest = int.from_bytes(frame[:4], "big"), frame[4:]
    if kind == _PREVIEW:
        number = int.from_bytes(rest[:4], "big")
        return Preview(mime=_FORMATS.get(number, "application/octet-stream"), content=rest[4:])
    if kind == _TEXT:
        end = 4 + int.from_bytes(rest[:4], "big")
        return Text(node=rest[4:end].decode(errors="replace"), text=rest[end:].decode(errors="replace"))
    if kind == _PREVIEW_WITH_METADATA:
        return _preview_with_metadata(rest)
    return Unknown(type=f"binary {kind}", data=rest)


def _preview_with_metadata(rest: bytes) -> Event | None:
    end = 4 + int.from_bytes(rest[:4], "big")
    try:
        about = json.loads(rest[4:end])
    except (ValueError, RecursionError):
        return None
    if not isinstance(about, dict):
        return None
    return Preview(
        prompt_id=_text(about.get("prompt_id")),
        node=_text(about.get("display_node_id") or about.get("node_id")),
        mime=str(about.get("image_type") or "application/octet-stream"),
        content=rest[end:],
        metadata=about,
    )


def _status(data: Mapping[str, Any]) -> Event:
    status = data.get("status")
    info = status.get("exec_info") if isinstance(status, dict) else None
    left = info.get("queue_remaining") if isinstance(info, dict) else None
    return Status(queue_remaining=left if isinstance(left, int) else None, sid=_text(data.get("sid")))


def _progress_state(data: Mapping[str, Any]) -> Event:
    nodes = data.get("nodes")
    states = {
        str(node_id): NodeState(
            str(node_id), str(told.get("state")), _number(told.get("value")), _number(told.get("max"))
        )
        for node_id, told in (nodes.items() if isinstance(nodes, dict) else ())
        if isinstance(told, dict)
    }
    return ProgressState(prompt_id=_text(data.get("prompt_id")), nodes=states)


def _executed(data: Mapping[str, Any]) -> Event:
    output = data.get("output")
    return Executed(
        prompt_id=_text(data.get("prompt_id")),
        node=_text(data.get("node")),
        display_node=_text(data.get("display_node")),
        output=output if isinstance(output, dict) else {},
    )


def _error(data: Mapping[str, Any]) -> Event:
    return ExecutionError(
        prompt_id=_text(data.get("prompt_id")),
        node_id=_text(data.get("node_id")),
        node_type=_text(data.get("node_type")),
        exception_type=_text(data.get("exception_type")),
        exception_message=_text(data.get("exception_message")),
        traceback=_texts(data.get("traceback")),
        executed=_texts(data.get("executed")),
    )


_READERS: dict[str, Callable[[Mapping[str, Any]], Event]] = {
    "status": _status,
    "execution_start": lambda data: ExecutionStart(
        prompt_id=_text(data.get("prompt_id")), timestamp=data.get("timestamp")
    ),
    "execution_cached": lambda data: ExecutionCached(
        prompt_id=_text(data.get("prompt_id")), nodes=_texts(data.get("nodes")), timestamp=data.get("timestamp")
    ),
    "executing": lambda data: Executing(
        prompt_id=_text(data.get("prompt_id")),
        node=_text(data.get("node")),
        display_node=_text(data.get("display_node")),
    ),
    "progress": lambda data: Progress(
        prompt_id=_text(data.get("prompt_id")),
        node=_text(data.get("node")),
        value=_number(data.get("value")),
        max=_number(data.get("max")),
    ),
    "progress_state": _progress_state,
    "executed": _executed,
    "execution_success": lambda data: ExecutionSuccess(
        prompt_id=_text(data.get("prompt_id")), timestamp=data.get("timestamp")
    ),
    "execution_error": _error,
    "execution_interrupted": lambda data: ExecutionInterrupted(
        prompt_id=_text(data.get("prompt_id")),
        node_id=_text(data.get("node_id")),
        node_type=_text(data.get("node_type")),
        executed=_texts(data.get("executed")),
    ),
}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
