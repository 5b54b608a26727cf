"""Why a graph is not taken, in ComfyUI's words: its error types, messages and details are its protocol."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.services.folders import Unresolved
from comfyone.graph.catalog import COMBO, Catalog, InputSpec
from comfyone.graph.document import Graph, Problem, is_link
from comfyone.graph.reach import sources_of
from comfyone.graph.structure import check_cycles
from comfyone.graph.validate import errors_of, validate

__all__ = ["Verdict", "judge", "misshapen", "refusal", "refusal_of"]

LONG_LIST = 20
"""Choices past which a list is counted and not told."""

MAX_ERRORS = 200
"""Nodes whose errors are told, and outputs that need each."""

_CONVERSIONS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}

Error = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of a graph: the reason why nothing of it runs, if that is so; what is wrong with its nodes; and the
    outputs that can run."""

    error: Error | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error, "node_errors": self.node_errors}


def refusal(type_: str, message: str, details: str = "", **extra: Any) -> Error:
    return {"type": type_, "message": message, "details": details, "extra_info": extra}


def refusal_of(fault: Fault) -> Error:
    """A fault of ours in that form."""
    return refusal(fault.slug, fault.message, fault.hint or "", **({"field": fault.field} if fault.field else {}))


def judge(
    graph: Graph,
    catalog: Catalog | None,
    targets: Sequence[str] | None,
    found: Collection[tuple[str, str]],
    unresolved: Sequence[Unresolved],
) -> Verdict:
    """Looks at a graph that is not `misshapen` as the server would, before it is queued.

    Args:
        catalog: What the tenant's backends have together; None while that is not known: then the server decides.
        targets: The only outputs that are to run.
        found: Inputs (node, name) that name a file of the tenant: the server will have it in its list.
        unresolved: Inputs that name a file which the tenant does not have.
    """
    if catalog is None:
        return Verdict(outputs=tuple(targets or ()))
    outputs = [node_id for node_id, node in graph.items() if catalog[node["class_type"]].output_node]
    wanted = graph.keys() if targets is None else set(targets)
    outputs = [node_id for node_id in outputs if node_id in wanted]
    if not outputs:
        return Verdict(refusal("prompt_no_outputs", "Prompt has no outputs"))
    files = {*found, *((one.node_id, one.input) for one in unresolved)}
    errors: dict[str, list[Error]] = {}
    problems = errors_of(validate(graph, catalog))
    for problem in problems:
        place = (problem.node_id or "", problem.input_name or "")
        if place[0] in graph and place[1] and place not in files and not _is_open(graph, catalog, *place):
            errors.setdefault(place[0], []).append(_error(graph, catalog, problem))
    for problem in check_cycles(graph) if problems else ():
        text = "Exception when validating node"
        error = refusal("exception_during_validation", text, problem.message)
        errors.setdefault(problem.node_id or "", []).append(error)
    for one in unresolved:
        errors.setdefault(one.node_id, []).append(_no_file(one))
    return _weigh(graph, outputs, errors)


def _is_open(graph: Graph, catalog: Catalog, node_id: str, name: str) -> bool:
    """See `InputSpec.overlooks`."""
    spec = catalog[graph[node_id]["class_type"]].input(name)
    return spec is not None and spec.overlooks(graph[node_id]["inputs"].get(name))


def misshapen(graph: Any, catalog: Catalog | None) -> Error | None:
    """Why a value is no graph that any of these servers could look at; None when it is one."""
    if not isinstance(graph, dict) or not graph:
        return refusal("prompt_no_outputs", "Prompt has no outputs")
    for node_id, node in graph.items():
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            message = "Cannot execute because a node is missing the class_type property."
            return refusal("invalid_prompt", message, f"Node ID '#{node_id}'")
        if catalog is not None and node["class_type"] not in catalog:
            message = f"Cannot execute because node {node['class_type'][:200]} does not exist."
            return refusal("invalid_prompt", message, f"Node ID '#{node_id}'")
        if not isinstance(node.get("inputs"), dict):
            message = "Cannot execute because a node is missing the inputs property."
            return refusal("invalid_prompt", message, f"Node ID '#{node_id}'")
    return None


def _weigh(graph: Graph, outputs: Sequence[str], errors: dict[str, list[Error]]) -> Verdict:
    """Which outputs can run, and which errors belong to which others: those of nodes that no output needs are not told."""
    if not errors:
        return Verdict(outputs=tuple(outputs))
    node_errors: dict[str, Any] = {}
    concerned = sources_of(graph, sorted(errors))
    good = [output for output in outputs if output not in concerned]
    for output in outputs:
        for node_id in islice(concerned.get(output, ()), MAX_ERRORS):
            if node_id not in node_errors and len(node_errors) < MAX_ERRORS:
                told = {"errors": errors[node_id], "dependent_outputs": []}
                node_errors[node_id] = {**told, "class_type": graph[node_id]["class_type"]}
            if node_id in node_errors and len(node_errors[node_id]["dependent_outputs"]) < MAX_ERRORS:
                node_errors[node_id]["dependent_outputs"].append(output)
    details = [f"{error['message']}: {error['details']}" for output in outputs for error in errors.get(output, ())]
    if good:
        return Verdict(None, node_errors, tuple(good))
    failed = "Prompt outputs failed validation"
    return Verdict(refusal("prompt_outputs_failed_validation", failed, "\n".join(details[:MAX_ERRORS])), node_errors)


def _no_file(one: Unresolved) -> Error:
    kind = f"{one.input} file" if one.input in ("image", "audio", "video") else "file"
    details = f"{one.input} - Invalid {kind}: {one.value[:200]}"
    return refusal("custom_validation_failed", "Custom validation failed for node", details, input_name=one.input)


def _error(graph: Graph, catalog: Catalog, problem: Problem) -> Error:
    """A problem of ours as the error that the server would give."""
    node_id, name = problem.node_id or "", problem.input_name or ""
    node = graph[node_id]
    spec = catalog[node["class_type"]].input(name)
    if name not in node["inputs"]:
        return refusal("required_input_missing", "Required input is missing", name, input_name=name)
    value = node["inputs"][name]
    told: dict[str, Any] = {"input_name": name, "input_config": _config(spec), "received_value": value}
    if isinstance(value, list):
        return _link_error(graph, catalog, name, value, spec, problem.message)
    if spec is None:
        return refusal("invalid_input_type", problem.message, name, **told)
    return _value_error(name, value, spec, told, problem.message)


def _link_error(
    graph: Graph, catalog: Catalog, name: str, value: list[Any], spec: InputSpec | None, message: str
) -> Error:
    if not is_link(value):
        text = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
        config = {"input_name": name, "input_config": _config(spec), "received_value": value}
        return refusal("bad_linked_input", text, name, **config)
    source = graph.get(value[0])
    outputs = catalog[source["class_type"]].outputs if source else ()
    if source is None or spec is None or not 0 <= int(value[1]) < len(outputs):
        return refusal("exception_during_validation", "Exception when validating node", message, linked_node=value)
    given = outputs[int(value[1])].type
    details = f"{name}, received_type({given}) mismatch input_type({spec.type})"
    extra = {"input_name": name, "input_config": _config(spec), "received_type": given, "linked_node": value}
    return refusal("return_type_mismatch", "Return type mismatch between linked nodes", details, **extra)


def _value_error(name: str, value: Any, spec: InputSpec, told: dict[str, Any], message: str) -> Error:
    convert = _CONVERSIONS.get(spec.type)
    number = value
    if convert is not None:
        try:
            number = convert(value)
        except (TypeError, ValueError, OverflowError) as error:
            text = f"Failed to convert an input value to a {spec.type} value"
            told |= {"exception_message": str(error)}
            return refusal("invalid_input_type", text, f"{name}, {str(value)[:200]}, {error}", **told)
    least, most = spec.minimum, spec.maximum
    if isinstance(number, int | float) and least is not None and number < least:
        return refusal("value_smaller_than_min", f"Value {number} smaller than min of {least:g}", name, **told)
    if isinstance(number, int | float) and most is not None and number > most:
        return refusal("value_bigger_than_max", f"Value {number} bigger than max of {most:g}", name, **told)
    if spec.type == COMBO:
        choices = spec.choices or ()
        short = len(choices) <= LONG_LIST
        listed = str(list(choices)) if short else f"(list of length {len(choices)})"
        told |= {"input_config": _config(spec) if short else None}
        return refusal(
            "value_not_in_list", "Value not in list", f"{name}: '{str(value)[:200]}' not in {listed}", **told
        )
    return refusal("invalid_input_type", message, name, **told)


def _config(spec: InputSpec | None) -> list[Any] | None:
    if spec is None:
        return None
    kind = list(spec.choices or ()) if spec.old_form else spec.type
    return [kind, dict(spec.options)]
