"""Long answers made shorter, for whoever can read them so."""

from __future__ import annotations

import asyncio
import gzip

from starlette.requests import Request
from starlette.responses import Response

from comfyone.gateway.dialects.headers import header_of

__all__ = ["compressed"]

LEAST = 2048
"""Bytes below which nothing is gained: they fit into one or two packets."""

MUCH = 64 * 1024
"""Bytes above which it takes so long that others should not wait for it."""

LEVEL = 4
TEXTS = ("application/json", "application/yaml", "text/")


async def compressed(request: Request, response: Response) -> Response:
    """The answer, with its body compressed where that is worth it. What is streamed stays as it is, and so does a part of a
    file, or a whole one: its tag and its ranges are those of the plain bytes."""
    body: bytes = getattr(response, "body", b"")
    if len(body) < LEAST or not response.headers.get("content-type", "").startswith(TEXTS):
        return response
    if "etag" in response.headers or "content-range" in response.headers:
        return response
    response.headers.add_vary_header("Accept-Encoding")
    if _takes_gzip(header_of(request.scope, b"accept-encoding") or ""):
        long = len(body) > MUCH
        response.body = await asyncio.to_thread(gzip.compress, body, LEVEL) if long else gzip.compress(body, LEVEL)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Content-Length"] = str(len(response.body))
    return response


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.split(","):
        name, _, quality = part.replace(" ", "").partition(";")
        if name.lower() == "gzip":
            return quality.partition("=")[2].strip("0.") != "" or not quality
    return False
