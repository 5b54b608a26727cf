"""ComfyUI's answers and messages, read into the engine's words. Pure.

The contract is ComfyUI's own protocol (checked against 0.3.75).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfyone.gateway.domain.evidence import Ending, FileRef, Hint, HintKind, Produced, Where, Whereabouts
from comfyone.gateway.domain.jobs import Failure

__all__ = [
    "ending_of",
    "hint_of",
    "ids_in_queue",
    "is_unable",
    "left_out",
    "node_errors_of",
    "produced_of",
    "refusal_of",
    "where_in_queue",
]

_REMARKS = frozenset({"animated"})
"""Keys of a node's output that describe its files and are no output of their own; neither is what is empty."""

_ELSEWHERE = frozenset({"filename", "subfolder", "type", "fullpath"})
"""What of a file is kept by itself; and its path on the server, which is nobody's affair."""

_NUMBER = (int, float)  # written as int | float, a new type would be made for each message

MAX_TRACEBACK = 100
MAX_LINE = 1000
"""Lines of a traceback that are kept, the last ones, and characters of each."""


def hint_of(message: Mapping[str, Any]) -> Hint | None:
    """A socket message as a hint, or None when it tells nothing about a prompt.

    Right after a reconnect ComfyUI sends ``executing`` without ``prompt_id``; that one tells nothing either.
    """
    data = message.get("data")
    prompt_id = data.get("prompt_id") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(prompt_id, str):
        return None
    node = data.get("display_node") or data.get("node")
    match message.get("type"):
        case "execution_start":
            return Hint(HintKind.BEGUN, prompt_id, message=message)
        case "execution_cached":
            return Hint(HintKind.PROGRESS, prompt_id, done=frozenset(data.get("nodes") or ()), message=message)
        case "executing" if data.get("node") is None:
            return Hint(HintKind.OVER, prompt_id)
        case "executing":
            return Hint(HintKind.PROGRESS, prompt_id, node_id=str(node), message=message)
        case "progress":
            shares, step = {str(node): _fraction(data)}, _step(data)
            return Hint(HintKind.PROGRESS, prompt_id, fractions=shares, node_id=node, step=step, message=message)
        case "progress_state":
            return _progress_state(prompt_id, data.get("nodes") or {}, message)
        case "executed":
            produced = tuple(produced_of(str(node), data.get("output") or {}))
            done = frozenset({str(data.get("node"))})  # not the node that it is shown at, which may have more to do
            return Hint(HintKind.OUTPUT, prompt_id, done=done, node_id=node, produced=produced, message=message)
        case "execution_success" | "execution_error" | "execution_interrupted":
            return Hint(HintKind.ENDING, prompt_id, message=message)
    return None


def _progress_state(prompt_id: str, nodes: Mapping[str, Mapping[str, Any]], message: Mapping[str, Any]) -> Hint:
    done: list[str] = []
    fractions: dict[str, float] = {}
    for name, state in nodes.items():
        match state.get("state"):
            case "finished":
                done.append(name)
            case "running":
                fractions[name] = _fraction(state)
    node_id = next(iter(fractions), None)
    step = _step(nodes[node_id]) if node_id else None
    # a node that counts no steps is told as none of one
    counted = step if step and step[1] != 1 else None
    return Hint(
        HintKind.PROGRESS,
        prompt_id,
        done=frozenset(done),
        fractions=fractions,
        node_id=node_id,
        step=counted,
        message=message,
    )


def _fraction(data: Mapping[str, Any]) -> float:
    value, most = _step(data) or (0.0, 1.0)
    return value / most


def _step(data: Mapping[str, Any]) -> tuple[float, float] | None:
    value, most = data.get("value"), data.get("max")
    if isinstance(value, _NUMBER) and isinstance(most, _NUMBER) and most > 0:
        return value, most
    return None


def produced_of(node_id: str, output: Mapping[str, Any]) -> Iterator[Produced]:
    """Everything in a node's ``ui`` output: files of every kind, and values (texts, numbers) as they are."""
    remarks = {kind: items for kind, items in output.items() if kind in _REMARKS or items == []}
    for kind, items in output.items():
        if kind in _REMARKS:
            continue
        for item in items if isinstance(items, list) else [items]:
            if isinstance(item, dict) and isinstance(item.get("filename"), str):
                file = FileRef(item["filename"], str(item.get("subfolder") or ""), str(item.get("type") or "output"))
                more = {name: value for name, value in item.items() if name not in _ELSEWHERE}
                yield Produced(node_id, kind, file=file, more=more, remarks=remarks)
            else:
                yield Produced(node_id, kind, value=item, remarks=remarks, single=not isinstance(items, list))


def where_in_queue(queue: Mapping[str, Any], prompt_id: str) -> Where:
    for key, where in (("queue_running", Where.RUNNING), ("queue_pending", Where.PENDING)):
        if any(len(entry) > 1 and entry[1] == prompt_id for entry in queue.get(key) or ()):
            return where
    return Where.ABSENT


def ids_in_queue(queue: Mapping[str, Any]) -> list[str]:
    """Every prompt that waits or runs there, whoever sent it; those that run come last."""
    entries = [entry for key in ("queue_pending", "queue_running") for entry in queue.get(key) or ()]
    return [str(entry[1]) for entry in entries if len(entry) > 1]


def ending_of(entry: Mapping[str, Any]) -> Whereabouts:
    """How a prompt ended, from its history entry."""
    status = entry.get("status") or {}
    messages = dict(status.get("messages") or ())
    if status.get("status_str") == "error":
        if "execution_interrupted" in messages:
            told = messages["execution_interrupted"] or {}
            node_id, node_type = _line(told.get("node_id")), _line(told.get("node_type"))
            return Whereabouts(Where.ENDED, Ending(interrupted=True, node_id=node_id, node_type=node_type))
        return Whereabouts(Where.ENDED, Ending(failure=_node_failure(messages.get("execution_error") or {})))
    produced = tuple(
        item for node_id, output in (entry.get("outputs") or {}).items() for item in produced_of(node_id, output)
    )
    return Whereabouts(Where.ENDED, Ending(produced=produced))


def _line(value: Any) -> str | None:
    return value[:MAX_LINE] if isinstance(value, str) else None


def _node_failure(error: Mapping[str, Any]) -> Failure:
    node_id, node_type = error.get("node_id"), error.get("node_type")
    text = str(error.get("exception_message") or "the server gave no reason").strip()
    lines = error.get("traceback")
    return Failure(
        "node_error",
        f"node '{node_id}' ({node_type}): {text}"[:4000],
        node_id,
        node_type,
        exception=str(error["exception_type"])[:MAX_LINE] if error.get("exception_type") else None,
        traceback=tuple(str(line)[:MAX_LINE] for line in lines[-MAX_TRACEBACK:]) if isinstance(lines, list) else (),
    )


def refusal_of(body: Mapping[str, Any]) -> Failure:
    """Why ComfyUI would not queue a graph: the first node's error where it names one."""
    named = node_errors_of(body.get("node_errors"))
    if named:
        return named[0]
    error = body.get("error") or {}
    if not isinstance(error, dict):
        return Failure("rejected", str(error)[:4000])
    info = error.get("extra_info") or {}
    text = " ".join(part for part in (str(error.get("message") or ""), str(error.get("details") or "")) if part)
    return Failure(
        "rejected", (text or "the server refused the graph")[:4000], info.get("node_id"), info.get("class_type")
    )


def is_unable(body: Mapping[str, Any]) -> bool:
    """Whether another server might take what this one refused: it lacks a node class, or a value of an enumeration."""
    error = body.get("error")
    kinds = [error.get("type")] if isinstance(error, dict) else []
    for problem in (body.get("node_errors") or {}).values():
        kinds += [item.get("type") for item in problem.get("errors") or ()]
    # every node that we send has a class, so an invalid prompt is one whose class the server does not know
    return "invalid_prompt" in kinds or "value_not_in_list" in kinds


def node_errors_of(node_errors: Any) -> list[Failure]:
    """Each node that ComfyUI found fault with, and the input concerned."""
    return [failure for _, failure in _node_errors(node_errors)]


def left_out(node_errors: Any) -> dict[str, Failure]:
    """The output nodes that ComfyUI will not run although it took the graph, and why: the fault may lie in a node before."""
    found: dict[str, Failure] = {}
    for problem, failure in _node_errors(node_errors):
        for output in problem.get("dependent_outputs") or (failure.node_id,):
            found.setdefault(str(output), failure)
    return found


def _node_errors(node_errors: Any) -> Iterator[tuple[Mapping[str, Any], Failure]]:
    for node_id, problem in node_errors.items() if isinstance(node_errors, dict) else ():
        for error in problem.get("errors") or ():
            parts = (str(error.get("message") or "").strip(), str(error.get("details") or "").strip())
            text = f"node '{node_id}' ({problem.get('class_type')}): " + ": ".join(part for part in parts if part)
            yield problem, Failure("rejected", text[:4000], node_id, problem.get("class_type"))
