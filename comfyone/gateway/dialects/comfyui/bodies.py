"""What ComfyUI's clients send, as far as we read it: of these, more may be sent than is named here."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Changes", "Free", "Interrupt", "JobIds", "PromptBody"]


class PromptBody(msgspec.Struct):
    """A graph to run. ``prompt_id`` is the caller's own id for it; without one it is shown under ours."""

    prompt: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    client_id: str | None = None
    prompt_id: str | None = None
    front: bool | None = None
    number: float | None = None
    extra_data: dict[str, Any] | None = None
    partial_execution_targets: list[str] | None = None


class Changes(msgspec.Struct):
    """What to take out of the queue, or of the history."""

    clear: bool | None = None
    delete: list[str] | None = None


class Interrupt(msgspec.Struct):
    """What to stop; without an id, whatever of the tenant's runs."""

    prompt_id: str | None = None


class JobIds(msgspec.Struct):
    """The jobs to cancel."""

    job_ids: list[str]


class Free(msgspec.Struct):
    """What to drop from memory."""

    unload_models: bool | None = None
    free_memory: bool | None = None
