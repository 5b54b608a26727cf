"""Says no to a prompt in the original's words: error types, messages and details are its protocol."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfyone.emulator.files import Files
from comfyone.emulator.graph import Prompt, is_link
from comfyone.emulator.registry import Node, Spec

LONG_LIST = 20
CONVERSIONS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
Problem = dict[str, Any]


@dataclass(slots=True)
class Verdict:
    """What a check of a whole prompt found."""

    outputs: list[str]
    """Ids of the output nodes that can run."""
    error: Problem | None = None
    """Why nothing can run."""
    node_errors: dict[str, Any] = field(default_factory=dict)


def type_name(kind: type[BaseException]) -> str:
    """The name of an exception as the original tells it."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def problem(kind: str, message: str, details: str, extra: Mapping[str, Any] | None = None) -> Problem:
    """An error as it travels."""
    return {"type": kind, "message": message, "details": details, "extra_info": dict(extra or {})}


def validate(prompt: Any, nodes: Mapping[str, Node], files: Files, targets: Any = None) -> Verdict:
    """Check a prompt. Inputs are converted in place, as the original does.

    Args:
        prompt: The graph as it came.
        nodes: The known node classes.
        files: Where files that nodes load are looked for.
        targets: Ids of the output nodes wanted; None wants all.
    """
    outputs: list[str] = []
    for node_id in prompt:
        if "class_type" not in prompt[node_id]:
            return _unusable(node_id, "Cannot execute because a node is missing the class_type property.")
        class_type = prompt[node_id]["class_type"]
        if class_type not in nodes:
            return _unusable(node_id, f"Cannot execute because node {class_type} does not exist.")
        if nodes[class_type].is_output and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return Verdict([], problem("prompt_no_outputs", "Prompt has no outputs", ""))
    return _Check(prompt, nodes, files).verdict(outputs)


def _unusable(node_id: str, message: str) -> Verdict:
    return Verdict([], problem("invalid_prompt", message, f"Node ID '#{node_id}'"))


def types_match(received: Any, wanted: Any) -> bool:
    """Whether an output may be linked to an input; both may name several types with commas."""
    if "*" in (received, wanted) or received == wanted:
        return True
    if not isinstance(received, str) or not isinstance(wanted, str):
        return False
    return not {part.strip() for part in received.split(",")}.isdisjoint(part.strip() for part in wanted.split(","))


class _Check:
    """One walk through a prompt, from its outputs back."""

    def __init__(self, prompt: Prompt, nodes: Mapping[str, Node], files: Files) -> None:
        self._prompt, self._nodes, self._files = prompt, nodes, files
        self._found: dict[str, tuple[bool, list[Problem]]] = {}
        self._open: set[str] = set()

    def verdict(self, outputs: list[str]) -> Verdict:
        good: list[str] = []
        lines: list[str] = []
        node_errors: dict[str, Any] = {}
        for output in outputs:
            valid, problems = self._output(output)
            if valid:
                good.append(output)
                continue
            lines += [f"{each['message']}: {each['details']}" for each in problems]
            self._blame(output, node_errors)
        if good:
            return Verdict(good, None, node_errors)
        message = "Prompt outputs failed validation"
        return Verdict([], problem("prompt_outputs_failed_validation", message, "\n".join(lines)), node_errors)

    def _blame(self, output: str, node_errors: dict[str, Any]) -> None:
        """Enter all nodes found wrong so far, this output depending on them."""
        for node_id, (valid, problems) in self._found.items():
            if not valid and problems:
                class_type = self._prompt[node_id]["class_type"]
                fresh = {"errors": problems, "dependent_outputs": [], "class_type": class_type}
                node_errors.setdefault(node_id, fresh)["dependent_outputs"].append(output)

    def _output(self, node_id: str) -> tuple[bool, list[Problem]]:
        try:
            return self._node(node_id)
        except Exception as error:  # noqa: BLE001 (whatever a prompt breaks becomes part of the answer)
            extra = {"exception_type": type_name(type(error)), "traceback": traceback.format_tb(error.__traceback__)}
            message = "Exception when validating node"
            self._found[node_id] = (False, [problem("exception_during_validation", message, str(error), extra)])
            return self._found[node_id]

    def _node(self, node_id: str) -> tuple[bool, list[Problem]]:
        if node_id in self._found:
            return self._found[node_id]
        if node_id in self._open:
            return False, []  # a cycle: invalid, and nobody's error
        self._open.add(node_id)
        try:
            self._found[node_id] = self._inputs(node_id)
        finally:
            self._open.discard(node_id)
        return self._found[node_id]

    def _inputs(self, node_id: str) -> tuple[bool, list[Problem]]:
        inputs = self._prompt[node_id]["inputs"]
        node = self._nodes[self._prompt[node_id]["class_type"]]
        problems: list[Problem] = []
        valid = True
        for name, (group, spec) in node.inputs(self._files).items():
            if name not in inputs:
                if group == "required":
                    extra = {"input_name": name}
                    problems.append(problem("required_input_missing", "Required input is missing", name, extra))
            elif isinstance(inputs[name], list):
                valid = self._link(name, spec, inputs[name], problems) and valid
            else:
                problems += self._value(node, name, spec, inputs)
        if node.check and node.checked in inputs:
            problems += self._custom(node, inputs[node.checked])
        return valid and not problems, problems

    def _link(self, name: str, spec: Spec, value: list[Any], problems: list[Problem]) -> bool:
        """Check a linked input and what is behind it; False when something behind it is wrong."""
        told = {"input_name": name, "input_config": _config(spec)}
        if len(value) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            problems.append(problem("bad_linked_input", message, name, {**told, "received_value": value}))
            return True
        source, slot = value
        received = self._nodes[self._prompt[source]["class_type"]].outputs[slot]
        if not types_match(received, spec[0]):
            message = "Return type mismatch between linked nodes"
            details = f"{name}, received_type({received}) mismatch input_type({spec[0]})"
            extra = {**told, "received_type": received, "linked_node": value}
            problems.append(problem("return_type_mismatch", message, details, extra))
            return True
        try:
            return self._node(source)[0]
        except Exception as error:  # noqa: BLE001 (whatever a prompt breaks becomes part of the answer)
            extra = {
                **told,
                "exception_message": str(error),
                "exception_type": type_name(type(error)),
                "traceback": traceback.format_tb(error.__traceback__),
                "linked_node": value,
            }
            message = "Exception when validating inner node"
            inner = problem("exception_during_inner_validation", message, str(error), extra)
            self._found[source] = (False, [inner])
            return False

    def _value(self, node: Node, name: str, spec: Spec, inputs: dict[str, Any]) -> list[Problem]:
        """Convert a value in place and check it against the limits of its input."""
        value = inputs[name]
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[name] = value["__value__"]
        told = {"input_name": name, "input_config": _config(spec), "received_value": value}
        kind = spec[0]
        try:
            if isinstance(kind, str) and kind in CONVERSIONS:
                value = inputs[name] = told["received_value"] = CONVERSIONS[kind](value)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"Failed to convert an input value to a {kind} value"
            extra = {**told, "exception_message": str(error)}
            return [problem("invalid_input_type", message, f"{name}, {value}, {error}", extra)]
        if name == node.checked:
            return []
        return _limits(name, spec, value, told)

    def _custom(self, node: Node, value: Any) -> list[Problem]:
        assert node.check is not None
        answer = node.check(self._files, None if is_link(value) else value)
        if answer is True:
            return []
        details = node.checked + (f" - {answer}" if answer is not False else "")
        message = "Custom validation failed for node"
        return [problem("custom_validation_failed", message, details, {"input_name": node.checked})]


def _config(spec: Spec) -> list[Any]:
    return [spec[0], spec[1] if len(spec) > 1 else {}]


def _limits(name: str, spec: Spec, value: Any, told: dict[str, Any]) -> list[Problem]:
    kind, options = _config(spec)
    if "min" in options and value < options["min"]:
        message = f"Value {value} smaller than min of {options['min']}"
        return [problem("value_smaller_than_min", message, name, told)]
    if "max" in options and value > options["max"]:
        message = f"Value {value} bigger than max of {options['max']}"
        return [problem("value_bigger_than_max", message, name, told)]
    if isinstance(kind, list) and value not in kind:
        short = len(kind) <= LONG_LIST
        listed = str(kind) if short else f"(list of length {len(kind)})"
        extra = {**told, "input_config": told["input_config"] if short else None}
        return [problem("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {listed}", extra)]
    return []
