"""The frames of one ComfyUI socket, read into hints: texts, and the pictures that it shows of work under way.

The contract is ComfyUI's own protocol (checked against 0.3.75): a binary frame begins with four bytes that say its kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyone.gateway.domain.evidence import Hint, HintKind, Preview
from comfyone.gateway.drivers.messages import hint_of
from comfyone.gateway.drivers.reading import read_json

__all__ = ["GREETING", "MAX_PREVIEW", "Frames"]

GREETING = '{"type":"feature_flags","data":{"supports_preview_metadata":true}}'
"""The first frame that we send: from then on a preview says which prompt it belongs to."""

MAX_PREVIEW = 1024 * 1024
"""Bytes of the largest preview that is passed on."""

MAX_TEXT = 64 * 1024
"""Bytes of the longest text of a node that is passed on."""

PLAIN, TEXT, WITH_METADATA = 1, 3, 4
FORMATS = {1: "image/jpeg", 2: "image/png"}
MIMES = (*FORMATS.values(), "image/webp")


class Frames:
    """Reads the frames of one connection in their order.

    A plain preview and a node's text name no prompt: they belong to the one that runs, as ComfyUI runs one at a time.
    """

    def __init__(self) -> None:
        self._prompt_id: str | None = None
        self._node_id: str | None = None

    def text(self, frame: str) -> Hint | None:
        """What a text frame tells of a prompt, if anything."""
        message = read_json(frame)
        if not isinstance(message, dict):
            return None
        self._follow(message)
        return hint_of(message)

    def binary(self, frame: bytes) -> Hint | None:
        """The preview or text in a binary frame; None for anything else, and for what is too large."""
        view = memoryview(frame)
        kind = int.from_bytes(view[:4], "big")
        if kind == PLAIN:
            return self._plain(view[4:])
        if kind == TEXT:
            return self._said(frame)
        return _with_metadata(view[4:]) if kind == WITH_METADATA else None

    def _follow(self, message: Mapping[str, Any]) -> None:
        """Remembers who speaks."""
        data = message.get("data")
        if message.get("type") in ("execution_start", "executing") and isinstance(data, dict) and "prompt_id" in data:
            over = message["type"] == "executing" and data.get("node") is None
            self._prompt_id = None if over else data["prompt_id"]
            self._node_id = data.get("display_node") or data.get("node")

    def _plain(self, rest: memoryview) -> Hint | None:
        mime = FORMATS.get(int.from_bytes(rest[:4], "big"))
        return _preview(self._prompt_id, self._node_id, mime, rest[4:])

    def _said(self, frame: bytes) -> Hint | None:
        """It may be addressed to everybody: what another's prompt says is no hint about ours."""
        if not isinstance(self._prompt_id, str) or len(frame) > MAX_TEXT:
            return None
        return Hint(HintKind.TEXT, self._prompt_id, text=frame)


def _with_metadata(rest: memoryview) -> Hint | None:
    end = 4 + int.from_bytes(rest[:4], "big")
    about = read_json(rest[4:end])
    if not isinstance(about, dict):
        return None
    node_id = about.get("display_node_id") or about.get("node_id")
    return _preview(about.get("prompt_id"), node_id, about.get("image_type"), rest[end:], about)


def _preview(
    prompt_id: Any, node_id: Any, mime: Any, content: memoryview, about: Mapping[str, Any] | None = None
) -> Hint | None:
    if not isinstance(prompt_id, str) or mime not in MIMES or not 0 < len(content) <= MAX_PREVIEW:
        return None
    node = node_id if isinstance(node_id, str) else None
    return Hint(HintKind.PREVIEW, prompt_id, node_id=node, preview=Preview(mime, content), message=about)
