"""Bare answers, and one shape for every error: ``{"error": kind, "code": HTTP status, "message": detail}``."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from comfyone.errors import FAULTS, Fault
from comfyone.gateway.dialects.routing import Schema, refusal_headers

__all__ = ["TasksCodec"]

KINDS = {
    400: "Invalid request parameters",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Resource not found",
    405: "Method not allowed",
    413: "Payload too large",
    429: "Too many requests",
    500: "Internal server error",
    503: "Service unavailable",
}
"""What an error is called, by its HTTP status."""

_STATUS = {200: 503, 409: 400, 415: 400, 416: 400, 422: 400}
"""Statuses that this vocabulary does not know, and what stands for them. Only that there is no worker has 200 elsewhere."""

_MUTE = {"invalid_body", "job_finished", "not_found", "unavailable", "internal"}
"""Faults whose general hint says nothing that a client of this vocabulary could use."""

MAX_TEXT = 1000

_encoder = msgspec.json.Encoder()


class TasksCodec:
    """See `comfyone.gateway.dialects.routing.Codec`."""

    error = "ErrorResponse"

    def status(self, slug: str) -> int:
        status = FAULTS[slug].status
        return _STATUS.get(status, status)

    def success(self, data: Any, status: int = 200) -> Response:
        return Response(_encoder.encode(data), status, media_type="application/json")

    def failure(self, fault: Fault, request_id: str) -> Response:
        status = self.status(fault.slug)
        body = _encoder.encode({"error": KINDS[status], "code": status, "message": _message(fault)})
        response = Response(body, status, media_type="application/json")
        response.headers.update(refusal_headers(fault, status))
        return response

    def success_schema(self, data: Schema) -> Schema:
        return data

    def error_schema(self) -> Schema:
        return {
            "type": "object",
            "properties": {
                "error": {"type": "string", "enum": list(KINDS.values())},
                "code": {"type": "integer", "enum": list(KINDS)},
                "message": {"type": "string"},
            },
            "required": ["error", "code", "message"],
        }


def _message(fault: Fault) -> str:
    """What is wrong, and what to do about it where that helps."""
    if fault.field and fault.message == f"{fault.field}: is missing":
        return f"{fault.field} is required"
    muted = fault.slug in _MUTE and fault.hint == FAULTS[fault.slug].hint
    text = fault.message if muted else str(fault)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
