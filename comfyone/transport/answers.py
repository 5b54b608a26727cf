"""Reading an answer: the envelope of a good one, the typed error of a bad one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import pydantic

from comfyone.errors import APIError, AuthenticationError, ConnectionError, api_error
from comfyone.wire.v1 import APIResponse

__all__ = ["V1_FAULTS", "Answer", "Faults", "error_of", "read_envelope", "read_record", "retry_after"]

_MESSAGE_LIMIT = 2000
Record = TypeVar("Record", bound=pydantic.BaseModel)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with a good HTTP status, whole. The names of its headers are found in any case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def envelope(self) -> APIResponse:
        """It as an envelope; see `read_envelope` for what this raises."""
        return read_envelope(self.status, self.headers, self.content)


def read_envelope(status: int, headers: Mapping[str, str], content: bytes) -> APIResponse:
    """The envelope of an answer with a good HTTP status; an empty body counts as success.

    Raises:
        APIError: The body is no envelope, so something else than the service answered.
    """
    request_id = _request_id(headers)
    if not content:
        return APIResponse(code=0, msg="", request_id=request_id)
    body = _json(content)
    try:
        return APIResponse.model_validate({**body, "request_id": body.get("request_id") or request_id})
    except pydantic.ValidationError as error:
        shown = f"a body of type {headers.get('Content-Type', 'unknown')!r}, which is not the service's envelope"
        hint = "check that the domain is a ComfyOne service or gateway"
        raise APIError(status, f"the server sent {shown}", hint=hint, status=status, request_id=request_id) from error


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> APIError:
    """The typed error of an answer with a bad HTTP status. It carries what the body and the headers say."""
    body = _json(content)
    said = body.get("msg") or body.get("message") or body.get("detail") or body.get("error")
    message = str(said)[:_MESSAGE_LIMIT] if said else f"the server answered with HTTP {status}"
    code = body.get("code")
    kind = api_error(
        code if isinstance(code, int) and code and status != 401 else status,
        message,
        {"field": body["field"]} if body.get("field") else None,
        hint=body.get("hint"),
        status=status,
        error=body["error"] if isinstance(body.get("error"), str) else None,
        request_id=body.get("request_id") or body.get("requestId") or _request_id(headers),
        retry_after=retry_after(headers),
    )
    if isinstance(kind, AuthenticationError):
        kind.message = f"Invalid API key: {message}" if said else "Invalid API key"
    return kind


@dataclass(frozen=True, slots=True)
class Faults:
    """Which errors a vocabulary makes of what went wrong. All of them are kinds of `APIError`.

    Args:
        refused: From HTTP status, headers and body of an answer with a status of 300 or more.
        unanswered: From message, context and ``hint=``, where no usable answer came. Its ``status`` must be None.
        unexpected: From code, message, ``hint=`` and ``status=``, where the answer is none of this vocabulary.
    """

    refused: Callable[[int, Mapping[str, str], bytes], APIError] = error_of
    unanswered: Callable[..., APIError] = ConnectionError
    unexpected: Callable[..., APIError] = APIError


V1_FAULTS = Faults()
"""The errors of the ComfyOne vocabulary."""


def read_record(model: type[Record], response: APIResponse) -> Record:
    """The ``data`` of a response as a typed record.

    Raises:
        APIError: The code is not 0, or ``data`` lacks what the record can't do without.
    """
    data: Any = response.raise_for_code().data
    if isinstance(data, list) and len(data) == 1:  # some servers wrap a single record in an array
        data = data[0]
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) or "data" for problem in error.errors())
        message = f"the server's answer is no {model.__name__}: {fields}"
        raise APIError(response.code, message, request_id=response.request_id) from error


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds until the server wants to be asked again, from either form of Retry-After; None if it doesn't say."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except ValueError:
            return None
    return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None


def _json(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _request_id(headers: Mapping[str, str]) -> str | None:
    return headers.get("X-Request-Id")
