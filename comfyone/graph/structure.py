"""What can be said of a graph without knowing any node class: its shape, its links, its cycles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from comfyone.errors import ValidationError
from comfyone.graph.document import UI_FORMAT, Graph, Problem, check_shape, kind_of, links_of
from comfyone.graph.spelling import Nearest, Speller, shown

__all__ = [
    "GraphError",
    "check_cycles",
    "check_link",
    "check_links",
    "check_usable",
    "find_cycles",
    "label",
    "require_graph",
]


class GraphError(ValidationError, ValueError):
    """What was given is no graph in API format. ``problems`` says what is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0].message + more, {"node_id": problems[0].node_id})
        self.problems = list(problems)


AS_VALUE = '{"__value__": [...]}'
"""How a list is given as a value; by itself it would be read as a link."""

_WAY_OUT = " (in newer editors 'Export (API)'), or convert it with 'comfyone convert'"


def label(graph: Graph, node_id: str, name: str | None = None) -> str:
    """A node, or an input of one, as messages name it."""
    node = graph.get(node_id)
    class_type = node.get("class_type") if isinstance(node, Mapping) else None
    text = f"node '{node_id}'" + (f" ({class_type})" if class_type else "")
    return f"input '{name}' of {text}" if name is not None else text


def require_graph(graph: Any) -> None:
    """Raises:
    GraphError: A value is no graph in API format.
    """
    if problems := check_usable(graph):
        raise GraphError(problems)


def check_usable(graph: Any) -> list[Problem]:
    """What keeps a value from being a graph at all; for the usual mistakes with the way out."""
    if wrapped := _wrapped(graph):
        return [Problem(wrapped)]
    problems = [
        replace(problem, message=problem.message + _WAY_OUT) if problem.message == UI_FORMAT else problem
        for problem in check_shape(graph)
    ]
    if isinstance(graph, dict):
        problems += [
            Problem(f"the id of node {node_id!r} is {kind_of(node_id)}, not a text", suggestions=(str(node_id),))
            for node_id in graph
            if not isinstance(node_id, str)
        ]
    return problems


def _wrapped(graph: Any) -> str | None:
    """What a graph is wrapped in, when somebody gives more than the graph."""
    if isinstance(graph, str | bytes):
        return f"a graph is a JSON object, and this is its text{_not_json(graph)}; read it with json.loads first"
    if isinstance(graph, list) and len(graph) >= 3 and _is_graph(graph[2]):
        return "this is an entry of ComfyUI's queue or history; the graph is its third item"
    if not isinstance(graph, dict) or "class_type" in graph:
        return None if not isinstance(graph, dict) else "this is one node, not a graph; a graph is node id → node"
    for key in ("prompt", "output", "workflow"):
        if _is_graph(graph.get(key)):
            return f"this holds a graph under '{key}', beside or instead of other things; give only that"
    if isinstance(graph.get("workflow"), dict) and isinstance(graph["workflow"].get("nodes"), list):
        return UI_FORMAT + _WAY_OUT
    return None


def _not_json(text: str | bytes) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        return f" (which is no JSON either: {error})"
    except RecursionError:
        return " (which is nested too deeply to be a workflow)"
    return ""


def _is_graph(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(_is_node(node) for node in value.values())


def _is_node(value: Any) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("class_type"), str) and isinstance(value.get("inputs"), dict)
    )


def check_links(graph: Graph) -> list[Problem]:
    """What is wrong with the links of a graph whose nodes have their shape: dangling, half-written, in a circle."""
    near = Speller()
    problems = [
        problem
        for node_id, node in graph.items()
        for name, value in node["inputs"].items()
        if isinstance(value, list) and (problem := check_link(graph, node_id, name, value, near))
    ]
    return problems + check_cycles(graph)


def check_cycles(graph: Graph) -> list[Problem]:
    """The cycles of a graph, a problem each; it is said of one of the cycle's nodes."""
    return [_cycle_problem(cycle) for cycle in find_cycles(graph)]


def check_link(graph: Graph, node_id: str, name: str, value: list[Any], nearest: Nearest) -> Problem | None:
    """What is wrong with a link as such. ComfyUI reads every list as a link, whatever it was meant to be."""

    def problem(text: str, *suggestions: Any) -> Problem:
        return Problem(f"{label(graph, node_id, name)} {text}", node_id, name, suggestions=suggestions)

    if len(value) != 2:
        return problem(
            f"is a list of {len(value)}; a list is read as a link, [node id, output index]. Write {AS_VALUE} for a value"
        )
    source, index = value
    if not isinstance(source, str):
        text = f"links to node {shown(source)}, and the id of a node is a text"
        known = not isinstance(source, list | dict) and str(source) in graph
        return problem(text, [str(source), index]) if known else problem(text)
    if source not in graph:
        near = [[each, index] for each in nearest(source, graph)]
        return problem(f"links to node '{source}', which is not there", *near)
    if not isinstance(index, int) or isinstance(index, bool):
        return problem(f"links to output {shown(index)} of node '{source}'; the index of an output is a whole number")
    if index < 0:
        return problem(f"links to output {index} of node '{source}'; outputs count from 0", [source, 0])
    return None


def _cycle_problem(cycle: list[str]) -> Problem:
    around = " → ".join(f"'{node_id}'" for node_id in [*cycle, cycle[0]])
    text = f"nodes {around} form a cycle" if len(cycle) > 1 else f"node '{cycle[0]}' is linked to itself"
    return Problem(f"{text}; nothing of it can run", cycle[0])


def find_cycles(graph: Graph) -> list[list[str]]:
    """Cycles of nodes, each node giving to the next. Whatever a cycle keeps from running needs one of those given."""
    givers = {node_id: [giver for _, giver, _ in links_of(node) if giver in graph] for node_id, node in graph.items()}
    takers: dict[str, list[str]] = {node_id: [] for node_id in graph}
    for node_id, sources in givers.items():
        for giver in sources:
            takers[giver].append(node_id)
    missing = {node_id: len(sources) for node_id, sources in givers.items()}
    ready = [node_id for node_id, count in missing.items() if not count]
    for node_id in ready:  # which grows meanwhile
        for taker in takers[node_id]:
            missing[taker] -= 1
            if not missing[taker]:
                ready.append(taker)
    stuck = {node_id: givers[node_id] for node_id, count in missing.items() if count}
    return list(_walks({node_id: _first_of(sources, stuck) for node_id, sources in stuck.items()}))


def _first_of(sources: list[str], stuck: Mapping[str, Any]) -> str:
    return next(source for source in sources if source in stuck)


def _walks(giver: Mapping[str, str]) -> Iterator[list[str]]:
    """Where one gets by always going from a node to its giver: around, in the end."""
    seen: set[str] = set()
    for node_id in giver:
        path: list[str] = []
        while node_id not in seen:
            seen.add(node_id)
            path.append(node_id)
            node_id = giver[node_id]
        if node_id in path:
            yield path[path.index(node_id) :][::-1]
