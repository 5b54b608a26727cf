"""The registry's envelope: ``code`` 0 or 1, and HTTP 200 for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from comfyone.errors import FAULTS, Fault
from comfyone.gateway.dialects.routing import Schema, refusal_headers

__all__ = ["RegistryCodec", "Told"]

LOUD = frozenset({401, 403, 429, 500, 503})
"""Statuses that keep themselves: whoever has no key, or comes too often, must see it before any envelope."""

MAX_TEXT = 1000
_TEXT: Schema = {"type": "string"}
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Told:
    """An answer with a message of its own."""

    msg: str
    data: Any = None


class RegistryCodec:
    """See `comfyone.gateway.dialects.routing.Codec`."""

    error = "RegistryError"

    def status(self, slug: str) -> int:
        status = FAULTS[slug].status
        return status if status in LOUD else 200

    def success(self, data: Any, status: int = 200) -> Response:
        told = data if isinstance(data, Told) else Told("success", data)
        body = _encoder.encode({"code": 0, "msg": told.msg, "data": told.data})
        return Response(body, status, media_type="application/json")

    def failure(self, fault: Fault, request_id: str) -> Response:
        status = self.status(fault.slug)
        mute = status == 200 and fault.hint == FAULTS[fault.slug].hint  # a general hint, in another vocabulary's words
        text = fault.message if mute else str(fault)
        body = {
            "code": 1,
            "msg": text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…",
            "data": None,
            "error": fault.slug,
            "request_id": request_id,
        }
        response = Response(_encoder.encode(body), status, media_type="application/json")
        response.headers.update(refusal_headers(fault, status))
        return response

    def success_schema(self, data: Schema) -> Schema:
        return {
            "type": "object",
            "properties": {"code": {"const": 0}, "msg": _TEXT, "data": data},
            "required": ["code", "msg", "data"],
        }

    def error_schema(self) -> Schema:
        return {
            "type": "object",
            "properties": {
                "code": {"const": 1},
                "msg": _TEXT,
                "data": {"type": "null"},
                "error": {"type": "string", "enum": sorted(FAULTS)},
                "request_id": _TEXT,
            },
            "required": ["code", "msg", "data", "error", "request_id"],
        }
