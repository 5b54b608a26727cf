"""A file of ComfyUI's editor read into records: schema 0.4 and 1.0, with whatever either leaves out.

Nothing is interpreted here but shapes: links are arrays or objects, ids numbers or texts, definitions may be nested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyone.graph.convert.findings import ConversionError, Reason
from comfyone.graph.document import kind_of

__all__ = [
    "ALWAYS",
    "BYPASSED",
    "INPUT_SIDE",
    "MUTED",
    "OUTPUT_SIDE",
    "Link",
    "Node",
    "Sheet",
    "Socket",
    "Workflow",
    "read_workflow",
]

ALWAYS, MUTED, BYPASSED = 0, 2, 4
INPUT_SIDE, OUTPUT_SIDE = "-10", "-20"
"""Ids that links use for the two sides of a subgraph."""

_SAVE_AGAIN = "open the file in ComfyUI's editor and save it again"


@dataclass(frozen=True, slots=True)
class Socket:
    """An input of a node, or an output, or one that a subgraph has to its outside."""

    name: str
    type: str
    link: str | None = None
    """The link that ends here; inputs only."""
    widget: str | None = None
    """The widget that the input stands for; None when it never had one."""


@dataclass(frozen=True, slots=True)
class Link:
    """A line from an output to an input."""

    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the file has it."""

    id: str
    type: str
    mode: int
    title: str | None
    inputs: tuple[Socket, ...]
    outputs: tuple[Socket, ...]
    values: tuple[Any, ...]
    """The values of its widgets in their order; nothing when they are saved by name only."""
    named: Mapping[str, Any] | None
    """The values of its widgets by name, which only some files have."""
    properties: Mapping[str, Any]

    @property
    def active(self) -> bool:
        return self.mode not in (MUTED, BYPASSED)

    def label(self, path: str) -> str:
        """The node as messages name it."""
        title = f" '{self.title}'" if self.title and self.title != self.type else ""
        return f"node {path} ({self.type}{title})"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One graph of the file: the workflow itself, or what a subgraph is defined as."""

    name: str
    nodes: Mapping[str, Node]
    links: Mapping[str, Link]
    inputs: tuple[Socket, ...] = ()
    outputs: tuple[Socket, ...] = ()


@dataclass(frozen=True, slots=True)
class Workflow:
    """A whole file."""

    root: Sheet
    definitions: Mapping[str, Sheet] = field(default_factory=dict)

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """All graphs of the file."""
        return (self.root, *self.definitions.values())


def read_workflow(data: Any) -> Workflow:
    """Read a file that the editor saved.

    Raises:
        ConversionError: It is no such file, or its nodes or links are not what the editor writes.
    """
    if not isinstance(data, Mapping):
        raise ConversionError([Reason(f"it is {kind_of(data)}, not a JSON object", "give the file that 'Save' wrote")])
    if not isinstance(data.get("nodes"), list):
        raise ConversionError([_no_nodes(data)])
    reasons: list[Reason] = []
    definitions = {str(each["id"]): each for each in _definitions(data, depth=0)}
    workflow = Workflow(
        root=_read_sheet(data, "the workflow", reasons),
        definitions={
            key: _read_sheet(each, f"subgraph '{each.get('name') or key}'", reasons)
            for key, each in definitions.items()
        },
    )
    if reasons:
        raise ConversionError(reasons)
    return workflow


def _no_nodes(data: Mapping[str, Any]) -> Reason:
    if data and all(isinstance(node, Mapping) and "class_type" in node for node in data.values()):
        return Reason("it is in the API format already", "use it as it is")
    return Reason("it has no list 'nodes'", "give the file that 'Save' wrote, not part of it")


def _definitions(data: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    """The definitions of subgraphs, those inside others too."""
    if depth > 32:
        raise ConversionError([Reason("its definitions of subgraphs are nested without end", _SAVE_AGAIN)])
    for each in _list(_mapping(data.get("definitions")).get("subgraphs")):
        if isinstance(each, Mapping) and _id(each.get("id")) is not None:
            yield each
            yield from _definitions(each, depth + 1)


def _read_sheet(data: Mapping[str, Any], name: str, reasons: list[Reason]) -> Sheet:
    nodes: dict[str, Node] = {}
    for position, each in enumerate(_list(data.get("nodes"))):
        node = _read_node(each)
        if node is None:
            what = "has no 'id' or no 'type'" if isinstance(each, Mapping) else f"is {kind_of(each)}"
            reasons.append(Reason(f"node number {position + 1} of {name} {what}", _SAVE_AGAIN))
        elif node.id not in nodes:  # the editor keeps the first of two with one id
            nodes[node.id] = node
    links = dict(_read_links(data.get("links"), name, reasons))
    return Sheet(name, nodes, links, _read_sockets(data.get("inputs")), _read_sockets(data.get("outputs")))


def _read_node(data: Any) -> Node | None:
    if not isinstance(data, Mapping):
        return None
    key, kind = _id(data.get("id")), data.get("type")
    if key is None or not isinstance(kind, str):
        return None
    values, named = data.get("widgets_values"), data.get("widgets_values_named")
    if isinstance(values, Mapping):
        values, named = None, values
    return Node(
        id=key,
        type=kind,
        mode=_whole(data.get("mode")) or ALWAYS,
        title=data["title"] if isinstance(data.get("title"), str) and data["title"] else None,
        inputs=_read_sockets(data.get("inputs")),
        outputs=_read_sockets(data.get("outputs")),
        values=tuple(_list(values)),
        named=named if isinstance(named, Mapping) else None,
        properties=_mapping(data.get("properties")),
    )


def _read_sockets(data: Any) -> tuple[Socket, ...]:
    return tuple(_read_socket(_mapping(each)) for each in _list(data))


def _read_socket(data: Mapping[str, Any]) -> Socket:
    name, kind, widget = data.get("name"), data.get("type"), data.get("widget")
    label = _mapping(widget).get("name", name) if widget else None
    return Socket(
        name=name if isinstance(name, str) else "",
        # enumerations of old files carry all their choices as the type
        type=kind if isinstance(kind, str) else "COMBO" if isinstance(kind, list) else "*",
        link=_id(data.get("link")),
        widget=label if isinstance(label, str) else None,
    )


def _read_links(data: Any, name: str, reasons: list[Reason]) -> Iterator[tuple[str, Link]]:
    for position, each in enumerate(_list(data)):
        link = _read_link(each)
        if link is not None:
            yield link.id, link
        elif each is not None:
            reasons.append(Reason(f"link number {position + 1} of {name} names no origin and target", _SAVE_AGAIN))


def _read_link(data: Any) -> Link | None:
    if isinstance(data, Mapping):
        parts = [data.get(key) for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    elif isinstance(data, list) and len(data) >= 5:
        parts = data[:5]
    else:
        return None
    key, origin, target = _id(parts[0]), _id(parts[1]), _id(parts[3])
    slots = _whole(parts[2]), _whole(parts[4])
    if key is None or origin is None or target is None or slots[0] is None or slots[1] is None:
        return None
    return Link(key, origin, slots[0], target, slots[1])


def _id(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    number = _whole(value)
    return None if number is None else str(number)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
