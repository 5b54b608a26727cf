"""The v1 envelope."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from comfyone.errors import Fault

__all__ = ["ENVELOPE_CODES", "V1Codec", "code_of"]

ENVELOPE_CODES = {"no_backend": 2006}
"""Envelope codes that differ from the HTTP status, after the hosted service."""

MAX_TEXT = 1000
"""Longest message, in characters: it names the input, and an input may be as long as a body."""

_encoder = msgspec.json.Encoder()


def code_of(fault: Fault) -> int:
    return ENVELOPE_CODES.get(fault.slug, fault.status)


class V1Codec:
    """See `comfyone.gateway.dialects.routing.Codec`."""

    def success(self, data: Any) -> Response:
        body = _encoder.encode({"code": 0, "msg": "success", "message": "success", "data": data})
        return Response(body, media_type="application/json")

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
        if fault.retry_after is not None:
            response.headers["Retry-After"] = str(max(1, round(fault.retry_after)))
        if fault.status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="comfyone"'
        return response


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
