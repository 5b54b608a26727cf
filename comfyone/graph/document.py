"""What a graph is, what is wrong with one, and how values are set in it. Pure.

A graph is ComfyUI's API format: node id → ``{"class_type": str, "inputs": {name: value or [node id, output index]}}``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

__all__ = ["Graph", "Problem", "check_classes", "check_graph", "is_link", "node_title", "with_values"]

Graph = Mapping[str, Mapping[str, Any]]

UI_FORMAT = "this is a workflow saved for ComfyUI's editor, not for its API; export it with 'Save (API format)'"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a graph, and the node it is in."""

    message: str
    node_id: str | None = None


def is_link(value: Any) -> bool:
    """Whether an input's value is a link to another node's output."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )


def check_graph(graph: Any) -> list[Problem]:
    """Everything that is wrong with the structure of a graph; an empty list when it is sound."""
    if not isinstance(graph, dict):
        return [Problem(f"a graph is a JSON object, not {_kind(graph)}")]
    if isinstance(graph.get("nodes"), list):
        return [Problem(UI_FORMAT)]
    if not graph:
        return [Problem("the graph has no nodes")]
    return [problem for node_id, node in graph.items() for problem in _check_node(graph, node_id, node)]


def _check_node(graph: Graph, node_id: str, node: Any) -> Iterator[Problem]:
    if not isinstance(node, dict):
        yield Problem(f"node '{node_id}' is {_kind(node)}, not an object with 'class_type' and 'inputs'", node_id)
    elif not isinstance(node.get("class_type"), str) or not node["class_type"]:
        yield Problem(f"node '{node_id}' has no 'class_type'", node_id)
    elif not isinstance(node.get("inputs"), dict):
        yield Problem(f"node '{node_id}' has no 'inputs' object", node_id)
    else:
        for name, value in node["inputs"].items():
            if is_link(value) and value[0] not in graph:
                yield Problem(
                    f"input '{name}' of node '{node_id}' links to node '{value[0]}', which is not there", node_id
                )


def check_classes(graph: Graph, known: Collection[str]) -> list[Problem]:
    """The nodes whose class is none of the known ones, with the nearest names."""
    problems = []
    for node_id, node in graph.items():
        name = node["class_type"]
        if name not in known:
            near = get_close_matches(name, known, n=3)
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


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
