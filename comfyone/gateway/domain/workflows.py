"""Workflows: named, versioned graphs with declared typed inputs and outputs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.domain.addresses import is_remote
from comfyone.gateway.domain.files import parse_asset_path
from comfyone.graph.document import Graph, Problem, check_classes, check_graph, is_deeper

__all__ = [
    "InputSpec",
    "InputType",
    "Values",
    "Workflow",
    "check_declaration",
    "check_extent",
    "check_nodes",
    "check_raw_graph",
    "check_values",
    "named_values",
    "unknown_workflow",
]

MAX_STRING = 200_000
"""Longest text that an input takes, in characters: far beyond any prompt, far below what hurts."""

MAX_NODES = 20_000
MAX_LEVELS = 100
"""Arrays and objects within each other in a graph: what is read, changed and written again must not go deeper."""

Values = dict[str, dict[str, Any]]
"""Node id → input name → value."""


class InputType(StrEnum):
    IMAGE = "image"
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """A declared input: the value of ``name`` in node ``id``. Numbers may have bounds, any input may have choices.

    Without ``required`` an image must be given and everything else falls back to the graph's own value.
    """

    id: str
    type: InputType
    name: str
    required: bool | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] | None = None
    title: str | None = None
    description: str | None = None

    @property
    def label(self) -> str:
        return f"input '{self.name}' of node '{self.id}'"

    @property
    def must_be_given(self) -> bool:
        return self.type is InputType.IMAGE if self.required is None else self.required


@dataclass(frozen=True, slots=True)
class Workflow:
    """One version of a workflow. ``graph`` holds the bytes that came in."""

    id: str
    tenant_id: str
    name: str
    version: int
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    graph: bytes
    created_at: float
    updated_at: float


def unknown_workflow(key: str, version: int | None = None) -> Fault:
    """What is said of a workflow that is not there for who asks; raise what it returns."""
    which = f"version {version} of workflow" if version is not None else "workflow"
    return Fault("not_found", f"no {which} '{key}'", field="workflow_id")


def check_extent(graph: Any, *, field: str = "workflow", slug: str = "invalid_graph") -> None:
    """Checks, before anything else, that a graph, or what is given for one, is not so large that to look at it would hold up
    others.

    Raises:
        Fault: ``slug``.
    """
    if isinstance(graph, dict) and len(graph) > MAX_NODES:
        what = "nodes" if slug == "invalid_graph" else "entries"
        raise Fault(slug, f"{field} has {len(graph):,} {what}, at most {MAX_NODES:,} are taken", field=field)
    if is_deeper(graph, MAX_LEVELS):
        raise Fault(slug, f"{field} is nested more than {MAX_LEVELS} levels deep", field=field)


def check_declaration(graph: Any, inputs: Sequence[InputSpec], outputs: Sequence[str]) -> None:
    """Checks a workflow before it is stored.

    Raises:
        Fault: ``invalid_graph``, naming the first thing that is wrong and counting the rest.
    """
    check_extent(graph)
    problems = check_graph(graph)
    if not problems:
        problems = [problem for spec in inputs for problem in _check_spec(graph, spec)]
        problems += [
            Problem(f"output '{node_id}' is declared, but the graph has no such node", node_id)
            for node_id in outputs
            if node_id not in graph
        ]
        problems += [
            Problem(f"{label} is declared twice")
            for label, count in Counter(spec.label for spec in inputs).items()
            if count > 1
        ]
    _refuse(problems, "workflow")


def check_raw_graph(graph: Any, outputs: Sequence[str], values: Values) -> None:
    """Checks a graph that is run without being stored, and that the nodes are there that values are given for.

    Raises:
        Fault: ``invalid_graph``, or ``invalid_input``.
    """
    check_declaration(graph, (), outputs)
    check_extent(values, field="inputs", slug="invalid_input")
    for node_id in values:
        if node_id not in graph:
            raise Fault(
                "invalid_input", f"values are given for node '{node_id}', which the graph lacks", field="inputs"
            )


def check_nodes(graph: Graph, known: Collection[str]) -> None:
    """Raises:
    Fault: ``invalid_graph`` when a node's class is none of the known ones.
    """
    _refuse(check_classes(graph, known), "workflow")


def _check_spec(graph: Graph, spec: InputSpec) -> list[Problem]:
    if spec.id not in graph:
        return [Problem(f"{spec.label} is declared, but the graph has no such node", spec.id)]
    inputs = graph[spec.id]["inputs"]
    if spec.name not in inputs:
        return [
            Problem(f"{spec.label} is declared, but the node has only: {', '.join(inputs) or 'no inputs'}", spec.id)
        ]
    if spec.minimum is not None and spec.maximum is not None and spec.minimum > spec.maximum:
        return [Problem(f"{spec.label} has a minimum above its maximum", spec.id)]
    return []


def _refuse(problems: Sequence[Problem], field: str) -> None:
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise Fault("invalid_graph", problems[0].message + more, field=field)


def check_values(workflow: Workflow, graph: Graph, given: Values) -> Values:
    """The values to set in the graph, checked against the workflow's declared inputs.

    Raises:
        Fault: ``invalid_input`` naming the input: not declared, missing, of the wrong type or out of range.
    """
    declared = {(spec.id, spec.name): spec for spec in workflow.inputs}
    checked: Values = {}
    for node_id, params in given.items():
        for name, value in params.items():
            spec = declared.get((node_id, name))
            if spec is None:
                raise _invalid(
                    f"input '{name}' of node '{node_id}'",
                    name,
                    f"is not declared by workflow '{workflow.name}'",
                    _declared(workflow),
                )
            checked.setdefault(node_id, {})[name] = _check_value(spec, value, graph[spec.id]["inputs"][spec.name])
    for spec in workflow.inputs:
        if spec.must_be_given and spec.name not in given.get(spec.id, {}):
            raise _invalid(spec.label, spec.name, "is missing", f"give a {spec.type}")
    return checked


def named_values(workflow: Workflow, named: Mapping[str, Any]) -> Values:
    """Values addressed by input name alone, or by title, put under their nodes.

    Raises:
        Fault: ``invalid_input`` for a name that no input, or more than one, has.
    """
    values: Values = {}
    for name, value in named.items():
        matches = [spec for spec in workflow.inputs if spec.title == name] or [
            spec for spec in workflow.inputs if spec.name == name
        ]
        if not matches:
            raise _invalid(
                f"input '{name}'", name, f"is not declared by workflow '{workflow.name}'", _declared(workflow)
            )
        if len(matches) > 1:
            nodes = ", ".join(spec.id for spec in matches)
            raise _invalid(
                f"input '{name}'",
                name,
                f"is ambiguous: nodes {nodes} have it",
                "address it by node id, or give the inputs titles",
            )
        values.setdefault(matches[0].id, {})[matches[0].name] = value
    return values


def _check_value(spec: InputSpec, value: Any, original: Any) -> Any:
    match spec.type:
        case InputType.NUMBER:
            value = _check_number(spec, value, original)
        case InputType.BOOLEAN if not isinstance(value, bool):
            raise _wrong_type(spec, value)
        case InputType.STRING | InputType.IMAGE:
            if not isinstance(value, str):
                raise _wrong_type(spec, value)
            if len(value) > MAX_STRING:
                raise _invalid(spec.label, spec.name, f"has {len(value):,} characters", f"give at most {MAX_STRING:,}")
            if spec.type is InputType.IMAGE and parse_asset_path(value) is None and not is_remote(value):
                raise Fault(
                    "asset_unknown",
                    f"{spec.label}: {value[:80]!r} is neither the path of an uploaded file nor a URL",
                    field=spec.name,
                )
    if spec.choices is not None and value not in spec.choices:
        raise _invalid(
            spec.label, spec.name, f"is {str(value)[:80]!r}", f"choose among {', '.join(map(str, spec.choices))}"
        )
    return value


def _check_number(spec: InputSpec, value: Any, original: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(spec, value)
    if not math.isfinite(value):
        raise _invalid(spec.label, spec.name, "is not a finite number", "give a number")
    if spec.minimum is not None and value < spec.minimum:
        raise _invalid(spec.label, spec.name, f"is {value}", f"give at least {spec.minimum:g}")
    if spec.maximum is not None and value > spec.maximum:
        raise _invalid(spec.label, spec.name, f"is {value}", f"give at most {spec.maximum:g}")
    # JSON writers of some languages send 7.0 for 7, which an integer widget refuses
    whole = isinstance(value, float) and value.is_integer() and isinstance(original, int)
    return int(value) if whole else value


def _wrong_type(spec: InputSpec, value: Any) -> Fault:
    found = (
        "null"
        if value is None
        else {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}.get(type(value), "a number")
    )
    return _invalid(
        spec.label, spec.name, f"is {found}", f"give {'an' if spec.type is InputType.IMAGE else 'a'} {spec.type}"
    )


def _invalid(label: str, field: str, problem: str, hint: str) -> Fault:
    return Fault("invalid_input", f"{label} {problem}", field=field, hint=hint)


def _declared(workflow: Workflow) -> str:
    names = ", ".join(f"{spec.name} ({spec.id})" for spec in workflow.inputs)
    return f"declared are: {names}" if names else "it declares no inputs"
