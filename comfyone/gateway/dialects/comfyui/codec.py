"""How ComfyUI answers: bare JSON, nothing at all, or a few plain words."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

from comfyone.errors import FAULTS, Fault
from comfyone.gateway.dialects.routing import Schema, refusal_headers

__all__ = ["MAX_TEXT", "ComfyUICodec", "json_answer"]

_STATUS = {"no_backend": 400, "internal": 500}
MAX_TEXT = 1000
_encoder = msgspec.json.Encoder()


def json_answer(data: Any, status: int = 200) -> Response:
    return Response(_encoder.encode(data), status, media_type="application/json")


class ComfyUICodec:
    """See `comfyone.gateway.dialects.routing.Codec`. What is no JSON to tell, such as the end of a deletion, has no body."""

    error = "ComfyUIError"

    def status(self, slug: str) -> int:
        return _STATUS.get(slug, FAULTS[slug].status)

    def success(self, data: Any, status: int = 200) -> Response:
        return PlainTextResponse("", status) if data is None else json_answer(data, status)

    def failure(self, fault: Fault, request_id: str) -> Response:
        status = self.status(fault.slug)
        response = PlainTextResponse(f"{status}: {fault.message[:MAX_TEXT]}", status)
        response.headers.update(refusal_headers(fault, status, "Basic"))
        return response

    def success_schema(self, data: Schema) -> Schema:
        return data

    def error_schema(self) -> Schema:
        text = {"type": "string"}
        details = {"type": text, "message": text, "details": text, "extra_info": {"type": "object"}}
        return {
            "type": "object",
            "properties": {
                "error": {"type": "object", "properties": details, "required": sorted(details)},
                "node_errors": {"type": "object"},
            },
            "required": ["error", "node_errors"],
        }
