"""Says what is wrong with a graph before it is sent: all of it at once, in words that say what to do.

Without ``object_info`` only the structure can be judged. With it the verdict is that of the server: there is an error
exactly if it would refuse the graph, or silently leave out some of its outputs. We are stricter in what it takes and
then can't run: links to nothing in inputs that the class lacks, values where only a link can be, and values outside an
enumeration in the newer form, which 0.3.75 doesn't look at; and with outputs below 0, which it counts from the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from comfyone.graph.catalog import Catalog, InputSpec, NodeClass, read_catalog
from comfyone.graph.document import Graph, Problem, is_link, needed_by
from comfyone.graph.reach import sources_of
from comfyone.graph.spelling import Speller, or_nearest
from comfyone.graph.structure import check_cycles, check_link, check_links, check_usable, label
from comfyone.graph.values import check_value, types_fit

__all__ = ["errors_of", "validate"]

MAX_CAUSES = 20
"""Nodes that a message names as the cause why an output is left out; the rest is counted."""


def validate(graph: Any, object_info: Mapping[str, Any] | Catalog | None = None) -> list[Problem]:
    """Everything that is wrong with a graph; an empty list when it is sound.

    Args:
        graph: What is to be sent, in API format. Anything at all may be given.
        object_info: What ``GET /object_info`` of the server answered that is to run it, just now: uploaded files and
            models that came later are not known to it.

    Raises:
        CatalogError: ``object_info`` is not such an answer.
    """
    catalog = None if object_info is None else read_catalog(object_info)
    if problems := check_usable(graph):
        return problems
    return check_links(graph) if catalog is None else _Check(graph, catalog).problems()


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    """The problems that keep a graph, or a part of it, from running."""
    return [problem for problem in problems if problem.severity == "error"]


class _Check:
    """One look at a graph whose nodes have their shape, with a server's node classes in hand."""

    def __init__(self, graph: Graph, catalog: Catalog) -> None:
        self._graph, self._catalog = graph, catalog
        self._nearest, self._nearest_class = Speller(), Speller()
        self._outputs = [node_id for node_id in graph if self._is_output(node_id)]
        self._used = needed_by(graph, *self._outputs)

    def _class(self, node_id: str) -> NodeClass | None:
        return self._catalog.get(self._graph[node_id]["class_type"])

    def _is_output(self, node_id: str) -> bool:
        found = self._class(node_id)
        return found is not None and found.output_node

    def problems(self) -> list[Problem]:
        found = [problem for node_id in self._graph for problem in self._node(node_id)] + check_cycles(self._graph)
        if unknown := list(self._unknown_classes()):
            return unknown + found  # the server looks no further, and what they would need or show can't be told
        if not self._outputs:
            missing = "no node of the graph is an output; nothing of it would run. Add one, such as SaveImage"
            return [Problem(missing), *found]
        found = [self._weighed(problem) for problem in found]  # the server looks only at what outputs need
        return [*found, *self._unused(), *self._dropped(found)]

    def _weighed(self, problem: Problem) -> Problem:
        return problem if problem.node_id in self._used else replace(problem, severity="warning")

    def _unknown_classes(self) -> Iterator[Problem]:
        for node_id, node in self._graph.items():
            if (name := node["class_type"]) not in self._catalog:
                near = self._nearest_class.once(name, self._catalog)
                message = f"node '{node_id}' is of class '{name}', which the server doesn't have{or_nearest(near)}"
                yield Problem(message, node_id, suggestions=near)

    def _node(self, node_id: str) -> Iterator[Problem]:
        node_class = self._class(node_id)
        inputs = self._graph[node_id]["inputs"]
        for name, value in inputs.items():
            yield from self._input(node_id, node_class, name, value)
        for spec in node_class.inputs.values() if node_class else ():
            if spec.required and spec.name not in inputs and not spec.dynamic:
                takes = f"a link to an output of type {spec.type}" if not spec.is_widget else f"a value ({spec.type})"
                message = f"{label(self._graph, node_id, spec.name)} is missing; it takes {takes}"
                suggestions = (spec.default,) if spec.default is not None else ()
                yield Problem(message, node_id, spec.name, suggestions=suggestions)

    def _input(self, node_id: str, node_class: NodeClass | None, name: str, value: Any) -> Iterator[Problem]:
        spec = node_class.input(name) if node_class else None
        if node_class is not None and spec is None:
            yield from self._unknown_input(node_id, node_class, name, value)
        elif isinstance(value, list):
            problem = check_link(self._graph, node_id, name, value, self._nearest) or self._link(
                node_id, spec, name, value
            )
            if problem:
                yield problem
        elif spec is not None:
            where = partial(label, self._graph, node_id, name)
            yield from check_value(spec, value, where, node_id, self._nearest)

    def _link(self, node_id: str, spec: InputSpec | None, name: str, value: list[Any]) -> Problem | None:
        source, index = value
        giver = self._class(source)
        if giver is None:
            return None
        if index >= len(giver.outputs):
            has = f"has {len(giver.outputs)}" if giver.outputs else "has none"
            where = label(self._graph, node_id, name)
            text = f"{where} links to output {index} of {label(self._graph, source)}, which {has}"
            return Problem(text, node_id, name, suggestions=tuple(self._fitting(source, giver, spec)))
        given = giver.outputs[index]
        if spec is None or spec.dynamic or types_fit(given, spec):
            return None
        where = label(self._graph, node_id, name)
        text = f"{where} takes {spec.type}, and output {index} of {label(self._graph, source)} gives {given.type}"
        return Problem(text, node_id, name, suggestions=tuple(self._fitting(source, giver, spec)))

    def _fitting(self, source: str, giver: NodeClass, spec: InputSpec | None) -> Iterator[list[Any]]:
        """The links to the same node that would do."""
        for index, output in enumerate(giver.outputs):
            if spec is not None and types_fit(output, spec):
                yield [source, index]

    def _unknown_input(self, node_id: str, node_class: NodeClass, name: str, value: Any) -> Iterator[Problem]:
        if is_link(value) and (problem := check_link(self._graph, node_id, name, value, self._nearest)):
            # not looked at before the run, but in it; 0.3.75 then works no more until it is started again
            yield replace(problem, message=f"{problem.message}. ComfyUI takes this, and its worker breaks on it")
            return
        parent = node_class.input(name.partition(".")[0])
        if name not in node_class.hidden and (parent is None or not parent.dynamic):
            near = self._nearest(name, node_class.inputs)
            text = f"{label(self._graph, node_id, name)} is none of its class, and is not looked at{or_nearest(near)}"
            yield Problem(text, node_id, name, "warning", near)

    def _unused(self) -> Iterator[Problem]:
        for node_id in self._graph:
            if node_id not in self._used:
                text = f"{label(self._graph, node_id)} is needed by no output, and won't run"
                yield Problem(text, node_id, severity="warning")

    def _dropped(self, found: list[Problem]) -> Iterator[Problem]:
        """The outputs that the server would leave out without a word, since others can run."""
        spoilt = {problem.node_id for problem in errors_of(found) if problem.node_id is not None}
        if not spoilt:
            return
        sources = sources_of(self._graph, sorted(spoilt))
        failing = [output for output in self._outputs if output in sources]
        if len(failing) == len(self._outputs):
            return  # it refuses the whole, and says why
        for output in failing:
            causes = list(islice(sources[output], MAX_CAUSES))
            because = "it" if causes == [output] else ", ".join(label(self._graph, cause) for cause in causes)
            more = len(sources[output]) - len(causes)
            because += f" and {more} more" if more else ""
            text = f"{label(self._graph, output)} would be left out without a word, since {because} can't run"
            yield Problem(text, output)
