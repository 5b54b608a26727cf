"""Declared inputs: which inputs of a graph a caller may give, with types, ranges and defaults as far as they are known."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from comfyone.errors import ValidationError
from comfyone.graph.catalog import Catalog, InputSpec, read_catalog
from comfyone.graph.document import Graph, is_link, node_title
from comfyone.graph.edit import node_of
from comfyone.graph.seeds import SEED_NAMES
from comfyone.graph.spelling import nearest, or_nearest, shown
from comfyone.graph.structure import label, require_graph
from comfyone.graph.values import value_of

__all__ = ["DeclarationError", "DeclaredInput", "Kind", "declare", "declared_inputs"]

Kind = Literal["image", "string", "integer", "number", "boolean"]

_KINDS: Mapping[str, Kind] = {"INT": "integer", "FLOAT": "number", "STRING": "string", "BOOLEAN": "boolean"}


class DeclarationError(ValidationError, ValueError):
    """What is declared is no input of the graph, or can't be given by a caller."""


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """An input that a caller may give: ``name`` of node ``node_id``."""

    node_id: str
    name: str
    kind: Kind
    required: bool = False
    default: Any = None
    """The graph's own value, which holds when none is given; None where there is none to give."""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] | None = None
    title: str | None = None
    description: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As `comfyone.WorkflowInput` and the v1 vocabulary write it."""
        told = {
            "id": self.node_id,
            "type": "number" if self.kind == "integer" else self.kind,
            "name": self.name,
            "required": self.required,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "choices": None if self.choices is None else list(self.choices),
            "title": self.title,
            "description": self.description,
        }
        return {key: value for key, value in told.items() if value is not None}

    def takes(self, value: Any) -> bool:
        """Whether a value is one that may be given."""
        fits = {
            "image": isinstance(value, str),
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "integer": isinstance(value, int) and not isinstance(value, bool),
            "number": isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value),
        }[self.kind]
        if not fits or (self.choices is not None and value not in self.choices):
            return False
        too_low = self.minimum is not None and not isinstance(value, str) and value < self.minimum
        return not too_low and not (self.maximum is not None and not isinstance(value, str) and value > self.maximum)


def _is_finite(value: float) -> bool:
    """Whether it is a number to everybody; Python alone has whole ones beyond the greatest of the others."""
    return abs(value) <= sys.float_info.max


def declared_inputs(
    inputs: Iterable[Any],
    graph: Graph | None = None,
    object_info: Mapping[str, Any] | Catalog | None = None,
) -> list[DeclaredInput]:
    """The declared inputs of a stored workflow.

    Args:
        inputs: `comfyone.WorkflowInput` objects, or what travels in their place.
        graph: The workflow's graph, for the values that hold when none are given.
        object_info: What ``GET /object_info`` answers; it tells whole numbers from others.

    Raises:
        DeclarationError: An input is declared in a way that can't be read.
        CatalogError: ``object_info`` is not such an answer.
    """
    catalog = read_catalog(object_info or {})
    return [_with_graph(_read(each), graph, catalog) for each in inputs]


def _read(declared: Any) -> DeclaredInput:
    held = declared if isinstance(declared, Mapping) else _attributes(declared)
    node_id, name, kind = held.get("id"), held.get("name"), _read_kind(held.get("type"))
    if not isinstance(node_id, str | int) or not isinstance(name, str) or kind is None:
        raise DeclarationError(
            f"an input is declared as {shown(declared)}",
            hint="declare it with 'id' (of the node), 'type' (image, string, number, boolean) and 'name'",
        )
    if name in SEED_NAMES and kind == "number":
        kind = "integer"
    required, choices = held.get("required"), held.get("choices")
    return DeclaredInput(
        node_id=str(node_id),
        name=name,
        kind=kind,
        required=kind == "image" if required is None else bool(required),
        minimum=held.get("minimum"),
        maximum=held.get("maximum"),
        choices=None if choices is None else tuple(choices),
        title=held.get("title"),
        description=held.get("description"),
    )


def _read_kind(value: Any) -> Kind | None:
    kinds: tuple[Kind, ...] = ("image", *_KINDS.values())
    return next((kind for kind in kinds if kind == getattr(value, "value", value)), None)


def _attributes(declared: Any) -> dict[str, Any]:
    names = ("id", "name", "type", "required", "minimum", "maximum", "choices", "title", "description")
    return {name: getattr(declared, name, None) for name in names}


def _with_graph(declared: DeclaredInput, graph: Graph | None, catalog: Catalog) -> DeclaredInput:
    node = (graph or {}).get(declared.node_id)
    if node is None:
        return declared
    node_class = catalog.get(node["class_type"])
    spec = node_class.input(declared.name) if node_class else None
    if spec is not None and spec.type == "INT" and declared.kind == "number":
        declared = replace(declared, kind="integer")
    value = value_of(node["inputs"].get(declared.name))
    if declared.kind != "image" and declared.takes(value):
        declared = replace(declared, default=value)
    return declared


def declare(
    graph: Graph,
    names: Iterable[str] | Mapping[str, str],
    object_info: Mapping[str, Any] | Catalog | None = None,
) -> list[DeclaredInput]:
    """Declare inputs of a graph by name.

    Args:
        names: ``node.input`` for each, such as ``6.text``; or the name that callers shall use → ``node.input``.
        object_info: What ``GET /object_info`` answers, for types, ranges and choices; without it types are those of
            the graph's own values.

    Raises:
        GraphError: It is no graph in API format.
        NodeNotFoundError: The graph has no such node.
        DeclarationError: The node has no such input, it is linked, or of a kind that no caller can give.
        CatalogError: ``object_info`` is not such an answer.
    """
    require_graph(graph)
    catalog = read_catalog(object_info or {})
    if isinstance(names, Mapping):
        return [_declare(graph, place, catalog, title) for title, place in names.items()]
    places = list(names)
    declared = [_declare(graph, place, catalog, None) for place in places]
    counts = Counter(each.name for each in declared)
    return [
        replace(each, title=_title(graph, each)) if counts[each.name] > 1 and each.title is None else each
        for each in declared
    ]


def _title(graph: Graph, declared: DeclaredInput) -> str:
    """What tells inputs of the same name apart."""
    title = node_title(graph[declared.node_id])
    return f"{title} {declared.name}" if title else f"{declared.name} {declared.node_id}"


def _declare(graph: Graph, place: str, catalog: Catalog, title: str | None) -> DeclaredInput:
    node_id, dot, name = place.partition(".")
    if not dot or not name:
        raise DeclarationError(f"{place!r} names no input", hint="write node.input, such as 6.text")
    node = node_of(graph, node_id)
    node_class = catalog.get(node["class_type"])
    spec = node_class.input(name) if node_class else None
    where = label(graph, node_id, name)
    if spec is None and name not in node["inputs"]:
        near = nearest(name, [*node["inputs"], *(node_class.inputs if node_class else ())])
        raise DeclarationError(f"{where} is not there{or_nearest(near)}", {"node_id": node_id, "input_name": name})
    value = value_of(node["inputs"].get(name))
    if is_link(value):
        raise DeclarationError(f"{where} is linked to node '{value[0]}'", hint="declare an input of that node instead")
    kind = _kind_of_spec(spec) if spec is not None else _kind_of_value(name, value)
    if kind is None:
        raise DeclarationError(
            f"{where} takes what no caller can give", hint="declare a text, number, boolean or image"
        )
    declared = DeclaredInput(node_id, name, kind, required=kind == "image", title=title)
    if spec is not None:
        declared = _with_spec(declared, spec)
    return replace(declared, default=value) if kind != "image" and declared.takes(value) else declared


def _with_spec(declared: DeclaredInput, spec: InputSpec) -> DeclaredInput:
    numbers = declared.kind in ("integer", "number")
    return replace(
        declared,
        minimum=spec.minimum if numbers else None,
        maximum=spec.maximum if numbers else None,
        choices=spec.choices if spec.choices and not spec.uploads else None,
        description=spec.tooltip,
    )


def _kind_of_spec(spec: InputSpec) -> Kind | None:
    if spec.options.get("image_upload"):
        return "image"
    if spec.choices is not None and spec.choices:
        kinds = {_kind_of_value("", choice) for choice in spec.choices}
        return kinds.pop() if len(kinds) == 1 else "number" if kinds == {"integer", "number"} else None
    if spec.uploads or spec.type == "COMBO":
        return "string"
    return _KINDS.get(spec.widget_type) if spec.is_widget else None


def _kind_of_value(name: str, value: Any) -> Kind | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):  # a FLOAT of 8.0 is written as 8, so a whole number need not be of a whole kind
        return "integer" if name in SEED_NAMES or not name else "number"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else None
