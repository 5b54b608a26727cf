"""Templates: a graph with named parameters, each an input of a node, or several that get the same value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfyone.errors import ValidationError
from comfyone.graph.document import Graph, copied
from comfyone.graph.edit import copy_graph, node_of
from comfyone.graph.spelling import nearest, or_nearest

__all__ = ["Parameter", "Template", "TemplateError", "make_template"]


class TemplateError(ValidationError, ValueError):
    """A parameter is declared in a way that leads to no input, or a value is given that no parameter takes."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Where a parameter's value goes."""

    node_id: str
    input_name: str


@dataclass(frozen=True, slots=True)
class Template:
    """A graph and its parameters. Make one with `make_template`."""

    graph: dict[str, Any]
    parameters: Mapping[str, tuple[Parameter, ...]]

    def values(self) -> dict[str, Any]:
        """Each parameter's own value, which it has when none is given; None where the graph has none."""
        return {
            name: copied(self.graph[places[0].node_id].get("inputs", {}).get(places[0].input_name))
            for name, places in self.parameters.items()
        }

    def instantiate(self, values: Mapping[str, Any], *, strict: bool = True) -> dict[str, Any]:
        """A graph with the given values; what isn't given keeps its own.

        Args:
            strict: Refuse values that no parameter takes, instead of leaving them out.

        Raises:
            TemplateError: A value is given that no parameter takes.
        """
        for name in values if strict else ():
            if name not in self.parameters:
                raise TemplateError(
                    f"the template has no parameter {name!r}{or_nearest(nearest(str(name), self.parameters))}",
                    {"parameter": name},
                    hint=f"its parameters are: {', '.join(self.parameters) or 'none'}",
                )
        graph = copy_graph(self.graph)
        for name, places in self.parameters.items():
            for place in places if name in values else ():
                graph[place.node_id].setdefault("inputs", {})[place.input_name] = copied(values[name])
        return graph


def make_template(graph: Graph, parameters: Mapping[str, Any]) -> Template:
    """A template of a graph, which is copied.

    Args:
        parameters: Name → ``{"node_id": ..., "input_name": ...}``, a `Parameter`, or a list of those.

    Raises:
        TemplateError: A parameter is declared otherwise.
        NodeNotFoundError: A parameter is of a node that the graph lacks.
    """
    read = {name: tuple(_places(name, declared)) for name, declared in parameters.items()}
    for place in (place for places in read.values() for place in places):
        node_of(graph, place.node_id)
    return Template(copy_graph(graph), read)


def _places(name: str, declared: Any) -> list[Parameter]:
    if isinstance(declared, Parameter):
        return [declared]
    if isinstance(declared, Mapping):
        node_id, input_name = declared.get("node_id"), declared.get("input_name")
        if isinstance(node_id, str | int) and isinstance(input_name, str):
            return [Parameter(str(node_id), input_name)]
    elif isinstance(declared, Sequence) and not isinstance(declared, str) and declared:
        return [place for each in declared for place in _places(name, each)]
    raise TemplateError(
        f"parameter {name!r} is declared as {declared!r}",
        {"parameter": name},
        hint='declare it as {"node_id": "3", "input_name": "seed"}, or a list of such',
    )
