"""What a ComfyUI answers, read: values of the kind that was asked for, and typed errors of all else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from comfyone.comfyui.calls import CORE
from comfyone.comfyui.records import messages_of
from comfyone.errors import (
    ComfyExecutionError,
    ComfyUIError,
    NodeProblem,
    NotComfyUIError,
    PromptRejectedError,
    ServerUnreachableError,
)
from comfyone.transport.answers import Answer, Faults, retry_after
from comfyone.transport.call import Call
from comfyone.transport.decisions import shown

__all__ = ["COMFYUI_FAULTS", "decoded", "failure_of", "is_stranger", "problems_of", "recognised"]

T = TypeVar("T")
_LIMIT = 2000
_NODE_ID = re.compile(r"Node ID '#(.+?)'")
_CLASS = re.compile(r"node (.+?) does not exist")
_MISSING = frozenset({404, 405, 501})
_DOUBTED = frozenset({401, 403, 407})
_CREDENTIALS = "the server, or what stands before it, wants other credentials: pass 'auth' or 'headers'"
_ADDRESS = "check host, port and protocol: give the address under which ComfyUI's page opens"


def _refused(status: int, headers: Mapping[str, str], content: bytes) -> ComfyUIError:
    body = _json(content)
    if isinstance(body, dict) and isinstance(body.get("error"), dict) and "node_errors" in body:
        return _rejected(status, body)
    hint = _CREDENTIALS if status in _DOUBTED else None
    return ComfyUIError(
        status, _said(status, body, content), hint=hint, status=status, retry_after=retry_after(headers)
    )


def _rejected(status: int, body: Mapping[str, Any]) -> PromptRejectedError:
    reason = body["error"]
    problems = tuple(problems_of(body.get("node_errors"))) or tuple(_problem_of(reason))
    parts = [str(reason.get(name) or "").strip() for name in ("message", "details")]
    said = ": ".join(dict.fromkeys(part for part in parts if part)) or "the server refused the graph"
    if problems and problems[0].message != parts[0]:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        said = f"{parts[0] or 'the server refused the graph'}: {problems[0]}{more}"
    node_errors = body.get("node_errors")
    return PromptRejectedError(
        said[:_LIMIT],
        status=status,
        hint="mend the inputs that are named ('problems' has them); 'comfyone validate' tells what the server takes"
        if problems
        else None,
        reason=reason,
        node_errors=node_errors if isinstance(node_errors, dict) else None,
        problems=problems,
    )


def problems_of(node_errors: Any) -> Iterator[NodeProblem]:
    """Each thing that a server found wrong with a node, from ``node_errors`` as they came."""
    for node_id, found in node_errors.items() if isinstance(node_errors, dict) else ():
        if not isinstance(found, dict):
            continue
        errors = found.get("errors")
        for error in errors if isinstance(errors, list) else ():
            if not isinstance(error, dict):
                continue
            info = error.get("extra_info")
            name = info.get("input_name") if isinstance(info, dict) else None
            yield NodeProblem(
                str(node_id),
                str(found.get("class_type")),
                name if isinstance(name, str) else None,
                str(error.get("type")),
                str(error.get("message") or "").strip(),
                str(error.get("details") or "").strip(),
            )


def _problem_of(reason: Mapping[str, Any]) -> Iterator[NodeProblem]:
    """The node that the error as a whole is about, such as one whose class the server does not have."""
    told = reason.get("extra_info")
    info: Mapping[str, Any] = told if isinstance(told, dict) else {}
    kind, message, details = (str(reason.get(name) or "") for name in ("type", "message", "details"))
    node = info.get("node_id") or _found(_NODE_ID, details)
    if node is not None:
        class_type = info.get("class_type") or _found(_CLASS, message)
        yield NodeProblem(str(node), str(class_type), None, kind, message, details)


def _found(pattern: re.Pattern[str], text: str) -> str | None:
    """Some versions of ComfyUI say such things in its texts alone."""
    match = pattern.search(text)
    return match[1] if match else None


def _said(status: int, body: Any, content: bytes) -> str:
    if isinstance(body, dict) and isinstance(body.get("error") or body.get("message"), str):
        return str(body.get("error") or body.get("message"))[:_LIMIT]
    text = content[:_LIMIT].decode(errors="replace").strip()
    if text and "<" not in text:  # a page for browsers says nothing here
        return f"the server answered with HTTP {status}: {text}"
    return f"the server answered with HTTP {status}"


def _unanswered(message: str, context: Mapping[str, Any] | None = None, *, hint: str | None = None) -> ComfyUIError:
    permanent = bool((context or {}).get("permanent"))
    if permanent and "certificate" not in message:
        return NotComfyUIError(0, message, context, hint=hint or _ADDRESS)
    return ServerUnreachableError(0, message, context, hint=hint or _ADDRESS)


COMFYUI_FAULTS = Faults(refused=_refused, unanswered=_unanswered, unexpected=NotComfyUIError)
"""The errors of ComfyUI's vocabulary."""


def is_stranger(error: ComfyUIError) -> bool:
    """Whether the server, or what stands before it, does not know us: to ask again would not change that."""
    return error.status in _DOUBTED


def recognised(call: Call, error: ComfyUIError) -> ComfyUIError:
    """The error of a call, which says so when no ComfyUI would have answered like this."""
    if error.status in _MISSING and not isinstance(error, PromptRejectedError) and _is_core(call):
        said = f"{shown(call)}: HTTP {error.status}, where every ComfyUI has an answer"
        return NotComfyUIError(error.code, said, hint=_ADDRESS, status=error.status)
    return error


def _is_core(call: Call) -> bool:
    return call.path.split("/")[0] in CORE


def decoded(call: Call, answer: Answer, kind: type[T]) -> T:
    """The body of an answer: bytes, a text, nothing (``dict`` of an empty body), or JSON of that kind.

    Raises:
        NotComfyUIError: It is something else.
    """
    if issubclass(kind, bytes):
        return kind(answer.content)
    if issubclass(kind, str) and "json" not in answer.headers.get("Content-Type", ""):
        return kind(answer.content.decode(errors="replace"))
    if not answer.content and issubclass(kind, dict):
        return kind()
    value: Any = _json(answer.content)
    if any(issubclass(kind, base) and isinstance(value, base) for base in (dict, list, str)):
        make: Any = kind
        return make(value)  # type: ignore[no-any-return]
    if kind is object and (value is not None or answer.content.strip() == b"null"):
        return value  # type: ignore[no-any-return]
    told = answer.headers.get("Content-Type", "something unnamed")
    raise NotComfyUIError(
        answer.status, f"{shown(call)}: {told!r} came back, and not what a ComfyUI says", hint=_ADDRESS
    )


def failure_of(prompt_id: str, entry: Mapping[str, Any]) -> ComfyExecutionError | None:
    """Why a prompt did not end well, from its history entry; None if it did."""
    status = entry.get("status")
    if not isinstance(status, dict) or status.get("status_str") != "error":
        return None
    messages = messages_of(entry)
    if "execution_interrupted" in messages:
        told = messages["execution_interrupted"]
        where: dict[str, Any] = {"node_id": told.get("node_id"), "node_type": told.get("node_type")}
        return ComfyExecutionError(
            prompt_id, f"prompt {prompt_id} was interrupted", interrupted=True, entry=entry, **where
        )
    told = messages.get("execution_error") or {}
    text = str(told.get("exception_message") or "the server gave no reason").strip()
    node = f" in node '{told['node_id']}' ({told.get('node_type')})" if told.get("node_id") is not None else ""
    lines = told.get("traceback") or ()
    return ComfyExecutionError(
        prompt_id,
        f"prompt {prompt_id} failed{node}: {text}"[:_LIMIT],
        node_id=told.get("node_id"),
        node_type=told.get("node_type"),
        exception_type=told.get("exception_type"),
        exception_message=text,
        traceback=tuple(map(str, lines if isinstance(lines, list) else [lines])),
        entry=entry,
    )


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
