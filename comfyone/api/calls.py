"""Every operation of the v1 vocabulary as a `Call`: what it asks, and whether it may be asked twice."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from comfyone.errors import ValidationError
from comfyone.transport.call import TRANSFER_TIMEOUT, Call, Upload
from comfyone.wire.v1 import PromptPayload, WorkflowPayload

__all__ = ["LONGEST_WAIT", "Calls", "new_idempotency_key"]

LONGEST_WAIT = 60.0
"""Seconds that a gateway holds back a status at most."""

_EVENTS_SILENCE = 45.0  # a gateway sends a comment each 15 seconds


class Calls:
    """Builds calls. For the hosted service it builds none that goes beyond the service's contract."""

    def __init__(self, *, hosted: bool) -> None:
        self._hosted = hosted

    def list_backends(self) -> Call:
        """GET the registered servers."""
        return Call("GET", "v1/backends")

    def register_backend(
        self,
        instance_id: str,
        url: str | None = None,
        weight: int | None = None,
        labels: Mapping[str, str] | None = None,
        state: str | None = None,
    ) -> Call:
        """POST a server. A gateway answers a repeat with the record that exists."""
        more = {"url": url, "weight": weight, "labels": dict(labels) if labels else None, "state": state}
        self._refuse_extensions(more)
        body = {"instance_id": _text("instance_id", instance_id), **_given(more)}
        return Call("POST", "v1/backends", json=body, idempotent=not self._hosted)

    def get_backend(self, name: str) -> Call:
        """GET one server."""
        return Call("GET", f"v1/backends/{_segment('name', name)}")

    def set_backend_state(self, name: str, state: str) -> Call:
        """PATCH the state of a server."""
        known = ("up", "down") if self._hosted else ("up", "down", "draining")
        if state not in known:
            raise ValidationError(f"state must be one of {', '.join(known)}, not {state!r}")
        return Call("PATCH", f"v1/backends/{_segment('name', name)}", json={"state": state})

    def delete_backend(self, instance_id: str) -> Call:
        """DELETE a server."""
        return Call("DELETE", f"v1/backends/{_segment('instance_id', instance_id)}")

    def create_workflow(self, payload: WorkflowPayload) -> Call:
        """POST a workflow."""
        return Call("POST", "v1/workflows", json=self._workflow(payload), idempotent=False)

    def list_workflows(self) -> Call:
        """GET all workflows."""
        return Call("GET", "v1/workflows")

    def get_workflow(self, workflow_id: str) -> Call:
        """GET one workflow."""
        return Call("GET", f"v1/workflows/{_segment('workflow_id', workflow_id)}")

    def update_workflow(self, workflow_id: str, payload: WorkflowPayload) -> Call:
        """PATCH a workflow with a whole new content."""
        return Call("PATCH", f"v1/workflows/{_segment('workflow_id', workflow_id)}", json=self._workflow(payload))

    def delete_workflow(self, workflow_id: str) -> Call:
        """DELETE a workflow."""
        return Call("DELETE", f"v1/workflows/{_segment('workflow_id', workflow_id)}")

    def upload_file(self, upload: Upload, ttl: float | None = None) -> Call:
        """POST a file. The same bytes are the same file, so it may be sent twice."""
        self._refuse_extensions({"ttl": ttl})
        return Call("POST", "v1/files", {"ttl": ttl}, upload=upload, read_timeout=TRANSFER_TIMEOUT)

    def prompt(self, payload: PromptPayload, idempotency_key: str | None = None, wait: float | None = None) -> Call:
        """POST a job of a stored workflow; a gateway may hold the answer back for up to ``wait`` seconds until it ends."""
        self._refuse_extensions({"priority": payload.priority, "Idempotency-Key": idempotency_key})
        if self._hosted and isinstance(payload.inputs, dict):
            raise ValidationError("inputs by name are unknown to the hosted service", hint="give a list of PromptInput")
        return self._submission("v1/prompts", payload.to_dict(), idempotency_key, wait)

    def prompt_workflow(self, graph: Mapping[str, Any], idempotency_key: str | None = None, **options: Any) -> Call:
        """POST a job of a graph that is stored nowhere. An option that is None does not travel."""
        self._refuse_extensions({"priority": options.get("priority"), "Idempotency-Key": idempotency_key})
        return self._submission("v1/prompts_workflow", {"workflow": dict(graph), **_given(options)}, idempotency_key)

    def prompt_status(self, prompt_id: str, wait: float | None = None) -> Call:
        """GET how a job stands; a gateway may hold the answer back for up to ``wait`` seconds until the job ends."""
        path = f"v1/prompts/{_segment('prompt_id', prompt_id)}/status"
        seconds = self._held(wait)
        return Call("GET", path, params=_waiting(seconds), wait=seconds)

    def prompt_events(self, prompt_id: str, after: int, previews: bool = False) -> Call:
        """GET the events of a job as they happen, with pictures of unfinished work if wanted. Only a gateway has them."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Last-Event-ID": str(after)}
        path = f"v1/prompts/{_segment('prompt_id', prompt_id)}/events"
        params = {"previews": 1 if previews else None}
        return Call("GET", path, headers=headers, params=params, read_timeout=_EVENTS_SILENCE)

    def cancel_prompt(self, prompt_id: str) -> Call:
        """POST the wish that a job stops."""
        return Call("POST", f"v1/prompts/{_segment('prompt_id', prompt_id)}/cancel", idempotent=False)

    def prompt_history(self, limit: int = 10, offset: int = 0) -> Call:
        """GET the jobs, newest first."""
        return Call("GET", "v1/prompts/history", params=_page(limit, offset))

    def create_webhook(self, url: str, events: Sequence[str] | None = None) -> Call:
        """POST a webhook. Only a gateway has them, as all that follow."""
        if isinstance(events, str):
            raise ValidationError(f"events must be a list of types, not {events!r}")
        body = _given({"url": _text("url", url), "events": None if events is None else list(events)})
        return self._webhooks("POST", json=body, idempotent=False)

    def list_webhooks(self) -> Call:
        """GET all webhooks."""
        return self._webhooks("GET")

    def delete_webhook(self, webhook_id: str) -> Call:
        """DELETE a webhook."""
        return self._webhooks("DELETE", f"/{_segment('webhook_id', webhook_id)}")

    def webhook_deliveries(self, webhook_id: str, limit: int = 50, offset: int = 0) -> Call:
        """GET what was sent to a webhook."""
        path = f"/{_segment('webhook_id', webhook_id)}/deliveries"
        return self._webhooks("GET", path, params=_page(limit, offset))

    def download(self, url: str) -> Call:
        """GET a result."""
        return Call("GET", _text("url", url), read_timeout=TRANSFER_TIMEOUT)

    def _webhooks(self, method: str, path: str = "", **options: Any) -> Call:
        if self._hosted:
            raise ValidationError("the hosted service does not know: webhooks", hint="use a gateway")
        return Call(method, f"v1/webhooks{path}", **options)

    def _held(self, wait: float | None) -> float:
        return 0.0 if wait is None or self._hosted else round(min(max(wait, 0.0), LONGEST_WAIT), 3)

    def _submission(self, path: str, body: dict[str, Any], key: str | None, wait: float | None = None) -> Call:
        if self._hosted:
            return Call("POST", path, json=body, idempotent=False)
        key = new_idempotency_key() if key is None else _text("idempotency_key", key)
        if not key.isascii() or not key.isprintable():
            raise ValidationError("idempotency_key holds a control or a non-ASCII character")
        seconds = self._held(wait)
        headers = {"Idempotency-Key": key}
        return Call("POST", path, json=body, headers=headers, params=_waiting(seconds), wait=seconds)

    def _workflow(self, payload: WorkflowPayload) -> dict[str, Any]:
        if not isinstance(payload, WorkflowPayload):
            raise ValidationError(f"payload must be a WorkflowPayload, not a {type(payload).__name__}")
        return payload.to_dict(extensions=not self._hosted)

    def _refuse_extensions(self, values: Mapping[str, Any]) -> None:
        if self._hosted and (names := ", ".join(_given(values))):
            raise ValidationError(f"the hosted service does not know: {names}", hint="leave it out, or use a gateway")


def _page(limit: int, offset: int) -> dict[str, Any]:
    for name, value, least in (("limit", limit, 1), ("offset", offset, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValidationError(f"{name} must be a whole number from {least}, not {value!r}")
    return {"limit": limit, "offset": offset}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def new_idempotency_key() -> str:
    """A key that nobody has used. It begins with the time: keys that come one after the other lie side by side in a server's
    index, which costs it less."""
    return f"{time.time_ns():016x}{secrets.token_hex(12)}"


def _text(name: str, value: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValidationError(f"{name} must be a non-empty string, not {value!r}")
    return value


def _waiting(seconds: float) -> dict[str, Any]:
    return {"wait": f"{seconds:g}" if seconds else None}


def _segment(name: str, value: str) -> str:
    """A value as one segment of a path: a slash in it separates nothing."""
    text = _text(name, value)
    if text in (".", ".."):
        raise ValidationError(f"{name} can't be {text!r}")
    return quote(text, safe="")
