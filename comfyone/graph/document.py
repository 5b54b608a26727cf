"""What a graph is, what is wrong with one, and how values are set in it. Pure.

A graph is ComfyUI's API format: node id → ``{"class_type": str, "inputs": {name: value or [node id, output index]}}``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from comfyone.errors import ValidationError
from comfyone.graph.spelling import Speller

__all__ = [
    "UI_FORMAT",
    "Graph",
    "Problem",
    "check_classes",
    "check_graph",
    "check_shape",
    "copied",
    "is_deeper",
    "is_link",
    "kind_of",
    "links_of",
    "needed_by",
    "node_title",
    "with_values",
]

Graph = Mapping[str, Mapping[str, Any]]

MAX_DEPTH = 10_000
"""Arrays and objects within each other; no JSON is read that has more."""

_CONTAINERS = (dict, list)  # written as dict | list, a new type would be made for each value that is asked of

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (dict, "an object"),
    (list, "an array"),
    (str, "a string"),
    (bool, "a boolean"),  # before numbers, which it counts as
    ((int, float), "a number"),
    (type(None), "null"),
)

UI_FORMAT = "this is a workflow saved for ComfyUI's editor, not for its API; export it with 'Save (API format)'"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a graph, and where.

    An ``error`` keeps the graph, or a part of it, from running. A ``warning`` is about something that ComfyUI overlooks.
    """

    message: str
    node_id: str | None = None
    input_name: str | None = None
    severity: Literal["error", "warning"] = "error"
    suggestions: tuple[Any, ...] = ()
    """What to write in its place, the most likely first: names, values, or what the editor would take."""


def is_link(value: Any) -> bool:
    """Whether an input's value is a link to another node's output."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )


def links_of(node: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """The links of a node: name of the input, id of the node it is linked to, index of that node's output."""
    for name, value in node["inputs"].items():
        if is_link(value):
            yield name, value[0], value[1]


def needed_by(graph: Graph, *node_ids: str) -> set[str]:
    """The ids of nodes with all that they need: what their inputs are linked to, and so on. Links to nothing lead nowhere."""
    needed: set[str] = set()
    waiting = [node_id for node_id in node_ids if node_id in graph]
    while waiting:
        node_id = waiting.pop()
        if node_id not in needed:
            needed.add(node_id)
            waiting += [source for _, source, _ in links_of(graph[node_id]) if source in graph]
    return needed


def check_graph(graph: Any) -> list[Problem]:
    """Everything that is wrong with the structure of a graph; an empty list when it is sound."""
    if problem := _check_whole(graph):
        return [problem]
    return [problem for node_id, node in graph.items() for problem in _check_node(graph, node_id, node)]


def check_shape(graph: Any) -> list[Problem]:
    """What keeps a value from being a graph at all: neither its links nor its values are looked at."""
    if problem := _check_whole(graph):
        return [problem]
    return [problem for node_id, node in graph.items() if (problem := _check_node_shape(node_id, node))]


def _check_whole(graph: Any) -> Problem | None:
    if not isinstance(graph, dict):
        return Problem(f"a graph is a JSON object, not {kind_of(graph)}")
    if isinstance(graph.get("nodes"), list):
        return Problem(UI_FORMAT)
    return None if graph else Problem("the graph has no nodes")


def _check_node_shape(node_id: str, node: Any) -> Problem | None:
    if not isinstance(node, dict):
        return Problem(f"node '{node_id}' is {kind_of(node)}, not an object with 'class_type' and 'inputs'", node_id)
    if not isinstance(node.get("class_type"), str) or not node["class_type"]:
        return Problem(f"node '{node_id}' has no 'class_type'", node_id)
    if not isinstance(node.get("inputs"), dict):
        return Problem(f"node '{node_id}' has no 'inputs' object", node_id)
    return None


def _check_node(graph: Graph, node_id: str, node: Any) -> Iterator[Problem]:
    if problem := _check_node_shape(node_id, node):
        yield problem
        return
    for name, source, _ in links_of(node):
        if source not in graph:
            message = f"input '{name}' of node '{node_id}' links to node '{source}', which is not there"
            yield Problem(message, node_id, name)


def check_classes(graph: Graph, known: Collection[str]) -> list[Problem]:
    """The nodes whose class is none of the known ones, with the nearest names."""
    problems, nearest = [], Speller()
    for node_id, node in graph.items():
        name = node["class_type"]
        if name not in known:
            near = nearest.once(name, known)
            text = f"; near it: {', '.join(near)}" if near else ""
            problems.append(Problem(f"node '{node_id}' is of class '{name}', which no backend has{text}", node_id))
    return problems


def with_values(graph: Graph, values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A copy of the graph with inputs set. Nodes that are not touched are shared with the original.

    Args:
        values: Node id → input name → value. The nodes must exist.
    """
    changed = {
        node_id: {**graph[node_id], "inputs": {**graph[node_id]["inputs"], **params}}
        for node_id, params in values.items()
    }
    return {**graph, **changed}


def node_title(node: Mapping[str, Any]) -> str | None:
    """The name that the author gave to a node in the editor."""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) else None


def copied(value: Any) -> Any:
    """A copy of JSON in which no two places share anything; so a change in one is a change in one.

    Raises:
        ValidationError: It is nested without end.
    """
    whole = [value]
    waiting: list[tuple[Any, int]] = [(whole, 0)]  # copies that still hold the originals, and how deep they lie
    while waiting:
        held, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValidationError(f"it is nested more than {MAX_DEPTH:,} deep", hint="see whether it holds itself")
        for key, each in held.items() if isinstance(held, dict) else enumerate(held):
            if isinstance(each, Mapping | list):
                held[key] = own = list(each) if isinstance(each, list) else dict(each)
                waiting.append((own, depth + 1))
    return whole[0]


def is_deeper(value: Any, most: int) -> bool:
    """Whether more than ``most`` arrays and objects lie within each other."""
    held = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(most):
        if not held:
            return False
        held = [
            each
            for holder in held
            for each in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(each, _CONTAINERS)
        ]
    return bool(held)


def kind_of(value: Any) -> str:
    """A value's kind in JSON, in words; what JSON has no word for by the name of its class."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), f"a Python {type(value).__name__}")
