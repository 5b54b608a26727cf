"""What is wrong with a workflow, said at once and of each node: whoever submits it need not wait for a server to refuse it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfyone.gateway.dialects.comfy_v2.faults import Refusal
from comfyone.gateway.domain.files import parse_asset_path
from comfyone.graph.catalog import Catalog
from comfyone.graph.document import Problem
from comfyone.graph.validate import errors_of, validate

__all__ = ["check_workflow"]

MAX_TOLD = 100
"""Problems that are told; there may be as many as there are inputs."""


def check_workflow(workflow: Any, catalog: Catalog | None) -> None:
    """Args:
        catalog: What the backends have together; None while that is not known: then only the structure is looked at.

    Raises:
        Refusal: ``invalid_workflow``, with what is wrong by node.
    """
    problems = list(_problems(workflow, catalog))
    if not problems:
        return
    told: dict[str, list[dict[str, Any]]] = {}
    for problem in problems[:MAX_TOLD]:
        if problem.node_id is not None:
            entry = {"field": problem.input_name, "reason": _reason(workflow, problem), "message": problem.message}
            told.setdefault(problem.node_id, []).append(entry)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise Refusal(422, "invalid_workflow", problems[0].message + more, details={"node_errors": told})


def _problems(workflow: Any, catalog: Catalog | None) -> Iterator[Problem]:
    for problem in errors_of(validate(workflow, catalog)):
        if catalog is None or not _is_open(workflow, catalog, problem):
            yield problem


def _is_open(workflow: Any, catalog: Catalog, problem: Problem) -> bool:
    """Whether servers take a value all the same: one of ours, which they are given under their own name for it; or one that
    they overlook."""
    node = workflow.get(problem.node_id) if isinstance(workflow, dict) else None
    name = problem.input_name
    if not isinstance(node, dict) or name is None or name not in node.get("inputs", ()):
        return False
    value, class_ = node["inputs"][name], catalog.get(node["class_type"])
    if isinstance(value, str) and parse_asset_path(value):
        return True
    spec = class_.input(name) if class_ else None
    return spec is not None and spec.overlooks(value)


def _reason(workflow: Any, problem: Problem) -> str:
    node = workflow.get(problem.node_id) if isinstance(workflow, dict) else None
    if problem.input_name is None or not isinstance(node, dict):
        return "invalid_node"
    inputs = node.get("inputs")
    if not isinstance(inputs, dict) or problem.input_name not in inputs:
        return "missing_input"
    return "invalid_link" if isinstance(inputs[problem.input_name], list) else "invalid_value"
