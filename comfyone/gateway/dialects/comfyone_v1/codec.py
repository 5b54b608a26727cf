"""The v1 envelope."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from comfyone.errors import FAULTS, Fault
from comfyone.gateway.dialects.routing import Schema, refusal_headers

__all__ = ["ENVELOPE_CODES", "V1Codec", "code_of"]

ENVELOPE_CODES = {"no_backend": 2006}
"""Envelope codes that differ from the HTTP status, after the hosted service."""

MAX_TEXT = 1000
"""Longest message, in characters: it names the input, and an input may be as long as a body."""

_TEXT: Schema = {"type": "string"}
_encoder = msgspec.json.Encoder()


def code_of(fault: Fault) -> int:
    return ENVELOPE_CODES.get(fault.slug, fault.status)


class V1Codec:
    """See `comfyone.gateway.dialects.routing.Codec`."""

    error = "Error"

    def status(self, slug: str) -> int:
        return FAULTS[slug].status

    def success(self, data: Any, status: int = 200) -> Response:
        body = _encoder.encode({"code": 0, "msg": "success", "message": "success", "data": data})
        return Response(body, status, media_type="application/json")

    def failure(self, fault: Fault, request_id: str) -> Response:
        message = _short(fault.message)
        body: dict[str, Any] = {
            "code": code_of(fault),
            "msg": message,
            "message": message,
            "data": None,
            "error": fault.slug,
            "hint": fault.hint,
            "request_id": request_id,
        }
        if fault.field:
            body["field"] = _short(fault.field)
        response = Response(_encoder.encode(body), fault.status, media_type="application/json")
        response.headers.update(refusal_headers(fault, fault.status))
        return response

    def success_schema(self, data: Schema) -> Schema:
        return {
            "type": "object",
            "properties": {"code": {"const": 0}, "msg": _TEXT, "message": _TEXT, "data": data},
            "required": ["code", "msg", "message", "data"],
        }

    def error_schema(self) -> Schema:
        return {
            "type": "object",
            "properties": {
                "code": {"type": "integer"},
                "msg": _TEXT,
                "message": _TEXT,
                "data": {"type": "null"},
                "error": {"type": "string", "enum": sorted(FAULTS)},
                "hint": _TEXT,
                "field": _TEXT,
                "request_id": _TEXT,
            },
            "required": ["code", "msg", "message", "data", "error", "hint", "request_id"],
        }


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
