"""One tree for everything that can go wrong, and one table of the faults a gateway answers with.

ComfyOneError
├── ValidationError            a value was refused before anything was sent
│   └── InvalidArgumentError   the same where callers know it as a ValueError
├── APIError                   the server answered with an error; carries code, status, slug and hint
│   ├── AuthenticationError    401: the key is missing, wrong, revoked or expired
│   ├── PermissionDeniedError  403: the key lacks a scope
│   ├── NotFoundError          404: unknown, or not yours
│   ├── ConflictError          409: taken, finished, or repeated with another body
│   ├── InvalidRequestError    400, 405, 413, 415, 416, 422: what was sent is wrong; repeating it won't help
│   ├── RateLimitError         429: full; ``retry_after`` says when
│   ├── ServerError            5xx
│   ├── ConnectionError        no answer: refused, reset, timed out
│   └── ComfyUIError           a ComfyUI server answered with an error, or not at all; a builtin ConnectionError, too
│       ├── ServerUnreachableError  no answer: refused, reset, timed out
│       ├── NotComfyUIError    what answers is no ComfyUI
│       └── PromptRejectedError  the server won't queue the graph; ``problems`` say why, per node and input
├── JobError                   a job did not end well; carries the job's id
│   ├── JobFailedError         it failed; ``error`` says why and in which node
│   ├── JobCancelledError      it was cancelled
│   └── JobTimeoutError        we stopped waiting; the job goes on
├── ComfyExecutionError        a prompt failed on a ComfyUI server, or was interrupted; says in which node
│   └── PromptLostError        it is neither queued nor in the history any more, or its server is gone
├── PromptTimeoutError         we stopped waiting for a prompt; it goes on
├── WebhookVerificationError   a message did not come from whom it says, or not now
└── Fault                      raised inside the gateway, turned into an answer by a dialect
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "FAULTS",
    "APIError",
    "AuthenticationError",
    "ComfyExecutionError",
    "ComfyOneError",
    "ComfyUIError",
    "ConflictError",
    "ConnectionError",
    "Fault",
    "FaultKind",
    "InvalidArgumentError",
    "InvalidRequestError",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobTimeoutError",
    "NodeProblem",
    "NotComfyUIError",
    "NotFoundError",
    "PermissionDeniedError",
    "PromptLostError",
    "PromptRejectedError",
    "PromptTimeoutError",
    "RateLimitError",
    "ServerError",
    "ServerUnreachableError",
    "ValidationError",
    "WebhookVerificationError",
    "api_error",
]


class ComfyOneError(Exception):
    """Base of every error that comfyone raises.

    Args:
        message: What happened, naming the input concerned.
        context: Further facts for a program to read. Never holds a secret.
        hint: What to do about it, in one sentence.
    """

    def __init__(self, message: str, context: Mapping[str, Any] | None = None, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context: dict[str, Any] = dict(context or {})
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ValidationError(ComfyOneError):
    """A value was refused before anything was sent."""


class InvalidArgumentError(ValidationError, ValueError):
    """A value was refused, by a function that promises a builtin ``ValueError``."""


class APIError(ComfyOneError):
    """The server answered with an error.

    Args:
        code: The envelope's ``code``, or the HTTP status where there is no envelope.
        message: The server's own message.
        status: HTTP status of the answer, or None when there was none.
        error: The stable slug of the fault (a key of `FAULTS`), or None from a server that has none.
        request_id: The id under which the server logged the request.
    """

    def __init__(
        self,
        code: int,
        message: str,
        context: Mapping[str, Any] | None = None,
        *,
        hint: str | None = None,
        status: int | None = None,
        error: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, context, hint=hint)
        self.code = code
        self.status = status
        self.error = error
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        text = f"[{self.code}] {super().__str__()}"
        return f"{text} [request {self.request_id}]" if self.request_id else text


class AuthenticationError(APIError):
    """HTTP 401: the key is missing, unknown, revoked or expired."""


class PermissionDeniedError(APIError):
    """HTTP 403: the key lacks the scope that the call needs."""


class NotFoundError(APIError):
    """HTTP 404: no such thing, or it belongs to somebody else."""


class ConflictError(APIError):
    """HTTP 409: the name is taken, the job has ended, or a repeat differs from its original."""


class InvalidRequestError(APIError):
    """HTTP 400, 405, 413, 415, 416 or 422: what was sent is wrong, and sending it again won't help."""


class RateLimitError(APIError):
    """HTTP 429: a limit is reached; ``retry_after`` (seconds) says when to come back."""


class ServerError(APIError):
    """HTTP 5xx: the server failed."""


class ConnectionError(APIError):
    """No usable answer came back: refused, reset or timed out. The code is 0.

    The builtin of the same name is a base of nothing here; catch this class.
    """

    def __init__(self, message: str, context: Mapping[str, Any] | None = None, **details: Any) -> None:
        super().__init__(0, message, context, **details)


class ComfyUIError(APIError, builtins.ConnectionError):
    """A ComfyUI server answered with an error, or not at all.

    Whoever catches the builtin ``ConnectionError`` catches this. The code is the HTTP status, or 0 without an answer.
    """


class ServerUnreachableError(ComfyUIError):
    """No usable answer came from a ComfyUI server: refused, reset or timed out."""


class NotComfyUIError(ComfyUIError):
    """Something answers at the address, but it is no ComfyUI."""


@dataclass(frozen=True, slots=True)
class NodeProblem:
    """What a server found wrong with one input of a node, or with the node itself (then ``input_name`` is None)."""

    node_id: str
    class_type: str
    input_name: str | None
    kind: str
    message: str
    details: str = ""

    def __str__(self) -> str:
        where = f"node '{self.node_id}' ({self.class_type})"
        place = f"{where}, input '{self.input_name}'" if self.input_name else where
        return f"{place}: " + ": ".join(part for part in (self.message, self.details) if part)


class PromptRejectedError(ComfyUIError):
    """A server won't queue a graph. What is wrong lies in the graph, so sending it again won't help.

    Args:
        reason: The server's ``error`` object, as it came; its ``type`` is ``error``.
        node_errors: Its ``node_errors``, as they came: by node id.
        problems: The same, one for each input concerned.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        hint: str | None = None,
        reason: Mapping[str, Any] | None = None,
        node_errors: Mapping[str, Any] | None = None,
        problems: tuple[NodeProblem, ...] = (),
    ) -> None:
        self.reason: dict[str, Any] = dict(reason or {})
        slug = self.reason.get("type")
        super().__init__(status, message, hint=hint, status=status, error=slug if isinstance(slug, str) else None)
        self.node_errors: dict[str, Any] = dict(node_errors or {})
        self.problems = problems


_BY_STATUS: Mapping[int, type[APIError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: InvalidRequestError,
    409: ConflictError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    416: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
}


def api_error(
    code: int, message: str, context: Mapping[str, Any] | None = None, *, status: int | None = None, **details: Any
) -> APIError:
    """Build the `APIError` whose class fits ``status``, or ``code`` where no HTTP status is at fault."""
    number = status if status is not None and status >= 400 else code
    kind = _BY_STATUS.get(number, ServerError if 500 <= number < 600 else APIError)
    return kind(code, message, context, status=status, **details)


class JobError(ComfyOneError):
    """A job did not end well. ``job_id`` picks it up again."""

    def __init__(
        self, job_id: str, message: str, context: Mapping[str, Any] | None = None, *, hint: str | None = None
    ) -> None:
        super().__init__(message, context, hint=hint)
        self.job_id = job_id


class JobFailedError(JobError):
    """The job failed. ``error`` holds ``type``, ``message`` and, for a node's error, ``node_id`` and ``node_type``."""

    def __init__(
        self, job_id: str, message: str, error: Mapping[str, Any] | None = None, *, hint: str | None = None
    ) -> None:
        super().__init__(job_id, message, error, hint=hint)
        self.error: dict[str, Any] = dict(error or {})


class JobCancelledError(JobError):
    """The job was cancelled."""


class JobTimeoutError(JobError, builtins.TimeoutError):
    """We stopped waiting for a job. It goes on; wait again, or cancel it."""


class ComfyExecutionError(ComfyOneError):
    """A prompt did not end well on a ComfyUI server. What is not known is None.

    Args:
        prompt_id: The prompt, to look it up again.
        node_id: The node that raised, or that ran when it was interrupted.
        node_type: Its class.
        exception_type: The class of what it raised, as the server names it.
        exception_message: What that says.
        traceback: The server's lines.
        interrupted: Somebody stopped it; no node is at fault.
        entry: The history entry, where there is one.
    """

    def __init__(
        self,
        prompt_id: str,
        message: str,
        *,
        hint: str | None = None,
        node_id: str | None = None,
        node_type: str | None = None,
        exception_type: str | None = None,
        exception_message: str | None = None,
        traceback: tuple[str, ...] = (),
        interrupted: bool = False,
        entry: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, {"prompt_id": prompt_id, "node_id": node_id, "node_type": node_type}, hint=hint)
        self.prompt_id = prompt_id
        self.node_id = node_id
        self.node_type = node_type
        self.exception_type = exception_type
        self.exception_message = exception_message
        self.traceback = traceback
        self.interrupted = interrupted
        self.entry: dict[str, Any] = dict(entry or {})


class PromptLostError(ComfyExecutionError, builtins.ConnectionError):
    """A prompt is in neither queue nor history any more, or its server has not answered for long."""


class PromptTimeoutError(ComfyOneError, builtins.TimeoutError):
    """We stopped waiting for a prompt. It goes on; wait again for ``prompt_id``, or cancel it."""

    def __init__(self, prompt_id: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, {"prompt_id": prompt_id}, hint=hint)
        self.prompt_id = prompt_id


class WebhookVerificationError(ComfyOneError):
    """A message did not come from whom it says, was changed on its way, or is an old one sent again."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """What a gateway answers for one kind of fault: HTTP status, meaning, and what to do."""

    status: int
    meaning: str
    hint: str


FAULTS: Mapping[str, FaultKind] = {
    "invalid_json": FaultKind(400, "the body is not the JSON that was expected", "send one JSON object"),
    "invalid_body": FaultKind(
        400, "a field of the body is missing or of the wrong type", "see /docs for the shape of the body"
    ),
    "empty_file": FaultKind(400, "the uploaded file has no bytes", "send the file's content in the part named 'file'"),
    "bad_file_name": FaultKind(
        400, "the file name holds a path, a control character or nothing", "send a plain name such as photo.png"
    ),
    "wrong_file_type": FaultKind(
        415, "the bytes are not what their name or type says", "send a file whose content matches its type"
    ),
    "missing_key": FaultKind(401, "no API key was sent", "send 'Authorization: Bearer KEY'"),
    "invalid_key": FaultKind(
        401, "the API key is not known", "check the key, or create one with 'comfyone keys create'"
    ),
    "revoked_key": FaultKind(401, "the API key was revoked", "create another with 'comfyone keys create'"),
    "expired_key": FaultKind(401, "the API key has expired", "create another with 'comfyone keys create'"),
    "scope_missing": FaultKind(
        403, "the key lacks the scope for this", "use a key that has the scope named in the message"
    ),
    "class_forbidden": FaultKind(
        403, "the graph holds a node class that the tenant may not use", "leave the node out, or ask the operator"
    ),
    "not_found": FaultKind(404, "there is no such thing for this key", "check the id; lists show what there is"),
    "method_not_allowed": FaultKind(405, "the route does not know this method", "see /docs for the routes"),
    "conflict": FaultKind(409, "the name is taken", "choose another name, or change what exists"),
    "job_finished": FaultKind(409, "the job has ended, and an end never changes", "read its status"),
    "idempotency_mismatch": FaultKind(
        409, "this Idempotency-Key came before with another body", "use a new key for a new job"
    ),
    "in_use": FaultKind(409, "a job that has not ended needs it", "cancel the job, or wait for its end"),
    "quota_exceeded": FaultKind(
        413,  # and not 429: waiting frees nothing, and a client that tried again would send all of it for nothing
        "the tenant's files would have more bytes, or have more, than it may keep",
        "delete files, or ask the operator for more room",
    ),
    "hash_mismatch": FaultKind(
        409, "the bytes that came have another hash than was said", "send the file again, or without a hash"
    ),
    "range_unsatisfiable": FaultKind(416, "the file ends before the range begins", "see Content-Range for its size"),
    "too_large": FaultKind(413, "the body is over the limit", "send less, or ask the operator to raise the limit"),
    "invalid_input": FaultKind(
        422, "a value does not fit the declared input", "see the workflow's inputs for types and ranges"
    ),
    "asset_unknown": FaultKind(
        422, "the value names no uploaded file", "upload the file first and send the 'Path' of the answer"
    ),
    "address_refused": FaultKind(
        422,
        "the gateway does not call this address",
        "name a public address, or ask the operator to open its network (allow_private)",
    ),
    "fetch_failed": FaultKind(
        422, "what the address leads to cannot be fetched", "check that it answers with 200 and the file"
    ),
    "invalid_graph": FaultKind(
        422, "the graph cannot run", "export it with 'Save (API format)' and declare only nodes it has"
    ),
    "backend_unresolvable": FaultKind(
        422,
        "the instance_id is neither a URL nor a configured name",
        "send the server's URL as 'instance_id' or in 'url'",
    ),
    "backend_unreachable": FaultKind(
        422, "nothing answers at the backend's URL", "start the server, or register it with state 'down'"
    ),
    "not_comfyui": FaultKind(
        422, "what answers at the URL is no ComfyUI", "give the URL under which ComfyUI's page opens"
    ),
    "no_backend": FaultKind(200, "no backend is registered", "register one: POST /v1/backends"),
    "queue_full": FaultKind(429, "a limit is reached", "come back after Retry-After"),
    "rate_limited": FaultKind(429, "too many submissions within a minute", "come back after Retry-After"),
    "budget_spent": FaultKind(
        429, "the day's backend time is used up", "come back tomorrow, or ask the operator for more"
    ),
    "internal": FaultKind(500, "the gateway failed", "report the request id to the operator"),
    "unavailable": FaultKind(503, "the gateway cannot take this now", "come back after Retry-After"),
}
"""Every fault a gateway answers with, by its stable slug."""


class Fault(ComfyOneError):
    """Something the gateway refuses. A dialect turns it into an answer; nowhere else is it caught.

    Args:
        slug: A key of `FAULTS`.
        message: What is wrong, naming the input.
        field: The input concerned, as the caller spelled it.
        hint: What to do, where the table's hint is too general.
        headers: What an answer over HTTP must say besides.
    """

    def __init__(
        self,
        slug: str,
        message: str,
        *,
        field: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        kind = FAULTS[slug]
        super().__init__(message, {"field": field} if field else None, hint=hint or kind.hint)
        self.slug = slug
        self.field = field
        self.status = kind.status
        self.retry_after = retry_after
        self.headers: dict[str, str] = dict(headers or {})
