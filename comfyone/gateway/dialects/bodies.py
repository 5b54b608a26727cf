"""Reading what came in: JSON of a declared type. Its size is bounded before it is read."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from starlette.requests import Request

from comfyone.errors import Fault
from comfyone.gateway.dialects.headers import length_of

__all__ = ["decode", "read_body"]

T = TypeVar("T")

_AT = re.compile(r" - at `\$(.*)`$")
_MISSING = re.compile(r"missing required field `(.*)`$")


async def read_body(request: Request, limit: int) -> bytes:
    """Raises:
    Fault: ``too_large``, from the declared length where there is one, before anything is read.
    """
    declared = length_of(request.scope) or 0
    if declared > limit:
        raise Fault("too_large", f"the body has {declared:,} bytes, at most {limit:,} are taken")
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Fault("invalid_body", "the body ended early")
        chunks.append(message.get("body", b""))
        size, more = size + len(chunks[-1]), message.get("more_body", False)
        if size > limit:
            raise Fault("too_large", f"the body has more than {limit:,} bytes")
    return b"".join(chunks)


def decode(body: bytes, type: type[T]) -> T:
    """A JSON body as a record.

    Raises:
        Fault: ``invalid_json`` when it is no JSON object; ``invalid_body`` naming the field that does not fit.
    """
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as error:
        text, path = str(error), ""
        if match := _AT.search(text):
            text, path = text[: match.start()], match[1].lstrip(".")
        if match := _MISSING.search(text):
            text, path = "is missing", f"{path}.{match[1]}".lstrip(".")
        if not path and "`object`" in text and "got" in text:
            raise Fault("invalid_json", f"the body is not a JSON object: {text}") from error
        raise Fault("invalid_body", f"{path}: {text}" if path else text, field=path or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Fault("invalid_json", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Fault("invalid_json", "the body is nested too deeply") from error
