"""Answers of Comfy API v2: the record itself, or ``{"error": {"code", "message", "details"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from comfyone.errors import Fault
from comfyone.gateway.dialects.comfy_v2.faults import Refusal, code_of, status_of
from comfyone.gateway.dialects.routing import Schema, refusal_headers

__all__ = ["V2Codec"]

MAX_MESSAGE = 256
"""Longest message, in characters: clients cut what is longer."""

_TEXT: Schema = {"type": "string"}
_encoder = msgspec.json.Encoder()


class V2Codec:
    """See `comfyone.gateway.dialects.routing.Codec`."""

    error = "V2Error"

    def status(self, slug: str) -> int:
        return status_of(slug)

    def success(self, data: Any, status: int = 200) -> Response:
        if status == 204:
            return Response(status_code=204)
        return Response(_encoder.encode(data), status, media_type="application/json")

    def failure(self, fault: Fault, request_id: str) -> Response:
        status, details = status_of(fault.slug), fault.details if isinstance(fault, Refusal) else None
        error = {"code": code_of(fault), "message": _message(fault, status), "details": details}
        response = Response(_encoder.encode({"error": error}), status, media_type="application/json")
        response.headers["X-Comfy-Request-Id"] = request_id
        response.headers.update(refusal_headers(fault, status))
        return response

    def success_schema(self, data: Schema) -> Schema:
        return data

    def error_schema(self) -> Schema:
        details = {"anyOf": [{"type": "object"}, {"type": "null"}]}
        properties: Mapping[str, Any] = {"code": _TEXT, "message": _TEXT, "details": details}
        inner = {"type": "object", "properties": properties, "required": ["code", "message", "details"]}
        return {"type": "object", "properties": {"error": inner}, "required": ["error"]}


def _message(fault: Fault, status: int) -> str:
    """One line. What is in use is not told by whom."""
    text = "a job that has not ended needs it" if fault.slug == "in_use" else fault.message
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
