"""`WorkflowManager`: workflows by name, templates, and a thin door to every tool of this room.

What it takes from or gives to its register is copied, so nothing outside can change what is registered.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from comfyone.errors import ValidationError
from comfyone.graph import edit
from comfyone.graph.catalog import Catalog
from comfyone.graph.document import Problem, copied
from comfyone.graph.files import load_graph, save_graph
from comfyone.graph.seeds import Seeded, Seeds, randomize, set_seeds
from comfyone.graph.spelling import nearest, or_nearest
from comfyone.graph.templates import Template, make_template
from comfyone.graph.validate import errors_of, validate

__all__ = ["UnknownNameError", "WorkflowManager"]

Workflow = dict[str, Any]
Kept = TypeVar("Kept")


class UnknownNameError(ValidationError, KeyError):
    """Nothing is registered under this name."""


class WorkflowManager:
    """Loads, checks, changes and keeps workflows in API format."""

    def __init__(self) -> None:
        self._workflows: dict[str, Workflow] = {}
        self._templates: dict[str, Template] = {}

    @staticmethod
    def load_workflow(workflow_path: str | os.PathLike[str]) -> Workflow:
        """Read a workflow from a JSON file.

        Raises:
            FileNotFoundError: There is no such file (`GraphFileNotFoundError`).
            ValueError: It is no JSON object (`GraphFileError`); the message names line and column.
        """
        return load_graph(workflow_path)

    @staticmethod
    def save_workflow(workflow: Mapping[str, Any], output_path: str | os.PathLike[str]) -> Path:
        """Write a workflow to a JSON file, whole or not at all, making folders as needed; the file's path.

        Raises:
            ValueError: The workflow holds what JSON has no words for (`GraphFileError`).
            OSError: The file can't be written (`GraphWriteError`). What was there before is still there.
        """
        return save_graph(workflow, output_path)

    @staticmethod
    def validate_workflow(
        workflow: Any, object_info: Mapping[str, Any] | Catalog | None = None
    ) -> tuple[bool, list[str]]:
        """Whether a workflow can run, and every reason why not.

        Args:
            object_info: What the server answers to ``GET /object_info``; without it only the structure is judged.

        Raises:
            CatalogError: ``object_info`` is not such an answer.
        """
        errors = [problem.message for problem in errors_of(validate(workflow, object_info))]
        return not errors, errors

    @staticmethod
    def find_problems(workflow: Any, object_info: Mapping[str, Any] | Catalog | None = None) -> list[Problem]:
        """Errors and warnings, with node, input and what to write in its place; see `comfyone.graph.validate`."""
        return validate(workflow, object_info)

    def register_workflow(self, name: str, workflow: Mapping[str, Any]) -> None:
        """Keep a copy of a workflow under a name, in place of one that may be there."""
        self._workflows[name] = copied(workflow)

    def get_workflow(self, name: str) -> Workflow:
        """A copy of a registered workflow.

        Raises:
            KeyError: None is registered under this name (`UnknownNameError`).
        """
        return edit.copy_graph(_named(self._workflows, name, "workflow"))

    def list_workflows(self) -> list[str]:
        """The names under which workflows are registered."""
        return list(self._workflows)

    @staticmethod
    def update_node_input(workflow: Workflow, node_id: str, input_name: str, value: Any) -> Workflow:
        """Set an input in place, and return the workflow. The input need not have been there.

        Raises:
            KeyError: The workflow has no such node (`NodeNotFoundError`).
        """
        edit.node_of(workflow, node_id).setdefault("inputs", {})[input_name] = value
        return workflow

    @staticmethod
    def find_nodes_by_type(workflow: Mapping[str, Any], class_type: str) -> list[str]:
        """The ids of the nodes of a class."""
        return edit.find_nodes(workflow, class_type)

    @staticmethod
    def find_nodes(
        workflow: Mapping[str, Any],
        class_type: str | None = None,
        *,
        title: str | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """The ids of the nodes with this class, title and inputs; see `comfyone.graph.edit.find_nodes`."""
        return edit.find_nodes(workflow, class_type, title=title, inputs=inputs)

    def create_template(self, name: str, workflow: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        """Keep a copy of a workflow as a template.

        Args:
            parameters: Name → ``{"node_id": ..., "input_name": ...}``, or a list of those that get the same value.

        Raises:
            ValueError: A parameter is declared otherwise (`TemplateError`).
            KeyError: A parameter is of a node that the workflow lacks (`NodeNotFoundError`).
        """
        self._templates[name] = make_template(workflow, parameters)

    def instantiate_template(self, name: str, values: Mapping[str, Any]) -> Workflow:
        """A workflow from a template. What isn't given keeps its value; what no parameter takes is left out.

        Raises:
            KeyError: There is no such template (`UnknownNameError`).
        """
        return _named(self._templates, name, "template").instantiate(values, strict=False)

    def get_template(self, name: str) -> Template:
        """A template, to ask for its parameters or to fill it strictly.

        Raises:
            KeyError: There is no such template (`UnknownNameError`).
        """
        return _named(self._templates, name, "template")

    def list_templates(self) -> list[str]:
        """The names of the templates."""
        return list(self._templates)

    @staticmethod
    def get_workflow_info(workflow: Mapping[str, Any]) -> dict[str, Any]:
        """What a workflow consists of: ``total_nodes``, ``node_types`` (class → how many), ``node_ids``."""
        found = edit.info(workflow)
        return {
            "total_nodes": found.total_nodes,
            "node_types": dict(found.node_types),
            "node_ids": list(found.node_ids),
        }

    @staticmethod
    def merge_workflows(
        workflow1: Mapping[str, Any], workflow2: Mapping[str, Any], node_id_prefix: str = "merged_"
    ) -> Workflow:
        """Both workflows in one: the first as it is, the second with the prefix before its ids and in its links.

        Raises:
            ValueError: The first already has a node of such an id (`NodeIdTakenError`).
        """
        return edit.merge(workflow1, workflow2, node_id_prefix)

    @staticmethod
    def extract_subgraph(workflow: Mapping[str, Any], *node_ids: str) -> Workflow:
        """A copy of some nodes with all that they need; see `comfyone.graph.edit.subgraph`."""
        return edit.subgraph(workflow, *node_ids)

    @staticmethod
    def randomize_seeds(workflow: Mapping[str, Any], rng: random.Random | None = None) -> Seeded:
        """A copy with new seeds, and which they are; see `comfyone.graph.seeds.randomize`."""
        return randomize(workflow, rng)

    @staticmethod
    def set_seeds(workflow: Mapping[str, Any], seeds: int | Seeds) -> Seeded:
        """A copy with given seeds, and which they are; see `comfyone.graph.seeds.set_seeds`."""
        return set_seeds(workflow, seeds)


def _named(kept: Mapping[str, Kept], name: str, what: str) -> Kept:
    if name in kept:
        return kept[name]
    near = nearest(name, kept) if isinstance(name, str) else ()
    raise UnknownNameError(
        f"no {what} is registered as {name!r}{or_nearest(near)}",
        {"name": name},
        hint=f"registered are: {', '.join(kept)}" if kept else f"register one first; there is no {what} yet",
    )
