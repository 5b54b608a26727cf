"""Finding one's way in a graph, and changing it. Every function returns a new graph and leaves the given one alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfyone.errors import ValidationError
from comfyone.graph.catalog import Catalog, read_catalog
from comfyone.graph.document import Graph, copied, is_link, links_of, needed_by, node_title
from comfyone.graph.spelling import nearest, or_nearest
from comfyone.graph.structure import check_usable, require_graph
from comfyone.graph.values import spelled

__all__ = [
    "ANYTHING",
    "GraphInfo",
    "NodeIdTakenError",
    "NodeNotFoundError",
    "copy_graph",
    "find_nodes",
    "info",
    "merge",
    "node_of",
    "rename_ids",
    "set_input",
    "spelled_for",
    "subgraph",
]

MAX_NAMED = 12
"""Nodes that a message names; the rest is counted."""


class _Anything:
    def __repr__(self) -> str:
        return "ANYTHING"


ANYTHING: Final = _Anything()
"""In `find_nodes`: the input is there, whatever its value."""


class NodeNotFoundError(ValidationError, KeyError):
    """A graph has no node of this id."""


class NodeIdTakenError(ValidationError, ValueError):
    """Two nodes of a graph would have the same id."""


@dataclass(frozen=True, slots=True)
class GraphInfo:
    """What a graph consists of."""

    node_ids: tuple[str, ...]
    node_types: Mapping[str, int]
    """Class → how many nodes are of it."""
    links: int
    ends: tuple[str, ...]
    """The nodes from which nothing is taken: outputs, and what was left over."""

    @property
    def total_nodes(self) -> int:
        return len(self.node_ids)


def node_of(graph: Mapping[str, Any], node_id: str) -> Any:
    """The node of an id.

    Raises:
        NodeNotFoundError: There is none; the message names those that there are, or says why it is no graph.
    """
    if isinstance(graph, Mapping) and node_id in graph:
        return graph[node_id]
    if why := _no_graph(graph):
        raise NodeNotFoundError(f"there is no node {node_id!r}: {why}", {"node_id": node_id})
    listed = ", ".join(f"{each} ({_class_of(node)})" for each, node in list(graph.items())[:MAX_NAMED])
    more = f" and {len(graph) - MAX_NAMED} more" if len(graph) > MAX_NAMED else ""
    near = nearest(node_id, graph) if isinstance(node_id, str) else ()
    raise NodeNotFoundError(
        f"the graph has no node {node_id!r}{or_nearest(near)}",
        {"node_id": node_id},
        hint=f"its nodes are: {listed}{more}" if graph else "it has no nodes at all",
    )


def _no_graph(graph: Any) -> str | None:
    """Why what was given for a graph is none, if it isn't only that some of its nodes are incomplete."""
    problems = check_usable(dict(graph) if isinstance(graph, Mapping) else graph) if graph != {} else []
    if not problems:
        return None
    some_node = isinstance(graph, Mapping) and any(isinstance(node, Mapping) for node in graph.values())
    return problems[0].message if problems[0].node_id is None or not some_node else None


def find_nodes(
    graph: Graph,
    class_type: str | None = None,
    *,
    title: str | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> list[str]:
    """The ids of the nodes that fit everything that is given.

    Args:
        class_type: The class's name.
        title: The name that the author gave to the node, in any case of letters.
        inputs: Input name → its value, or `ANYTHING` for inputs that only have to be there.
    """

    def fits(node: Mapping[str, Any]) -> bool:
        return (
            (class_type is None or node.get("class_type") == class_type)
            and (title is None or (node_title(node) or "").casefold() == title.casefold())
            and all(_has(node, name, value) for name, value in (inputs or {}).items())
        )

    return [node_id for node_id, node in graph.items() if isinstance(node, Mapping) and fits(node)]


def _has(node: Mapping[str, Any], name: str, value: Any) -> bool:
    inputs = node.get("inputs")
    return isinstance(inputs, Mapping) and name in inputs and (value is ANYTHING or inputs[name] == value)


def info(graph: Graph) -> GraphInfo:
    """What a graph consists of."""
    links = [source for node in graph.values() for _, source, _ in _links(node)]
    taken = set(links)
    return GraphInfo(
        node_ids=tuple(graph),
        node_types=dict(Counter(_class_of(node) for node in graph.values())),
        links=len(links),
        ends=tuple(node_id for node_id in graph if node_id not in taken),
    )


def _class_of(node: Any) -> str:
    class_type = node.get("class_type") if isinstance(node, Mapping) else None
    return class_type if isinstance(class_type, str) else "unknown"


def _links(node: Any) -> list[tuple[str, str, int]]:
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return list(links_of(node)) if isinstance(inputs, Mapping) else []


def copy_graph(graph: Graph) -> dict[str, Any]:
    """A copy that shares nothing with the original."""
    return {node_id: copied(node) for node_id, node in graph.items()}


def set_input(graph: Graph, node_id: str, name: str, value: Any) -> dict[str, Any]:
    """A copy of the graph with an input set. The input need not have been there.

    Raises:
        NodeNotFoundError: The graph has no such node.
    """
    node_of(graph, node_id)
    changed = copy_graph(graph)
    changed[node_id].setdefault("inputs", {})[name] = copied(value)
    return changed


def subgraph(graph: Graph, *node_ids: str) -> dict[str, Any]:
    """A copy of the given nodes with all that they need, in the graph's order.

    Raises:
        GraphError: It is no graph in API format.
        NodeNotFoundError: The graph has no such node.
    """
    require_graph(graph)
    for node_id in node_ids:
        node_of(graph, node_id)
    needed = needed_by(graph, *node_ids)
    return copy_graph({node_id: node for node_id, node in graph.items() if node_id in needed})


def rename_ids(graph: Graph, names: Mapping[str, str]) -> dict[str, Any]:
    """A copy of the graph whose nodes have other ids; links follow.

    Args:
        names: Old id → new id. Nodes that are not named keep theirs.

    Raises:
        NodeNotFoundError: The graph has no such node.
        NodeIdTakenError: Two nodes would have the same id.
    """
    for node_id in names:
        node_of(graph, node_id)
    counts = Counter(names.get(node_id, node_id) for node_id in graph)
    if twice := [node_id for node_id, count in counts.items() if count > 1]:
        raise NodeIdTakenError(
            f"several nodes would have the id {twice[0]!r}", hint="give each node an id that no other has"
        )
    return {names.get(node_id, node_id): _relinked(node, names) for node_id, node in graph.items()}


def merge(first: Graph, second: Graph, prefix: str = "merged_") -> dict[str, Any]:
    """Both graphs in one: the first as it is, the second with the prefix before all its ids. Neither is changed.

    Raises:
        NodeIdTakenError: The first already has a node of such an id.
    """
    names = {node_id: f"{prefix}{node_id}" for node_id in second}
    for name in names.values():
        if name in first:
            raise NodeIdTakenError(
                f"both graphs would have a node {name!r} (prefix {prefix!r})",
                {"node_id": name},
                hint="merge with a prefix that none of the ids of the first graph begins with",
            )
    # a link of the second to nothing must not become one to a node of the first
    strays = {source: f"{prefix}{source}" for node in second.values() for _, source, _ in _links(node)}
    return {
        **copy_graph(first),
        **{names[node_id]: _relinked(node, {**strays, **names}) for node_id, node in second.items()},
    }


def _relinked(node: Any, names: Mapping[str, str]) -> Any:
    """A copy of a node, linked to nodes by their new ids."""
    changed = copied(node)
    inputs = changed.get("inputs") if isinstance(changed, dict) else None
    if isinstance(inputs, dict):
        changed["inputs"] = {
            name: [names.get(value[0], value[0]), value[1]] if is_link(value) else value
            for name, value in inputs.items()
        }
    return changed


def spelled_for(graph: Graph, object_info: Mapping[str, Any] | Catalog) -> dict[str, Any]:
    """A copy of the graph with models and other choices as this server writes them: its own separators in paths.

    Raises:
        GraphError: It is no graph in API format.
        CatalogError: ``object_info`` is not the answer to ``GET /object_info``.
    """
    require_graph(graph)
    catalog = read_catalog(object_info)
    changed = copy_graph(graph)
    for node in changed.values():
        node_class = catalog.get(node["class_type"])
        inputs = node["inputs"]
        for name, value in inputs.items():
            if node_class and (spec := node_class.input(name)):
                inputs[name] = spelled(spec, value)
    return changed
