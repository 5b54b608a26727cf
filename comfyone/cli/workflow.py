"""The workflow that a command is given: read, changed, checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from comfyone.cli.local import CommandError
from comfyone.errors import ValidationError
from comfyone.graph.document import Problem
from comfyone.graph.edit import set_input
from comfyone.graph.files import load_graph
from comfyone.graph.metadata import read_metadata
from comfyone.graph.validate import errors_of, validate

__all__ = ["JSON_SUFFIXES", "Update", "assignment", "checked", "load", "parsed", "updated"]

Update = Annotated[
    list[str] | None,
    typer.Option("--update", "-u", help="NODE.INPUT=VALUE: a value as JSON, or else as text; may be repeated."),
]
JSON_SUFFIXES = ("", ".json")


def load(file: Path) -> dict[str, Any]:
    """The workflow in a JSON file, or in a picture or video that ComfyUI wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValidationError: it holds none.
    """
    if file.suffix.lower() in JSON_SUFFIXES:
        return load_graph(file)
    found = read_metadata(file)
    if found.prompt is None:
        raise ValidationError(f"{file} holds no workflow in API format", hint="it may hold one for 'comfyone convert'")
    return dict(found.prompt)


def updated(graph: dict[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """The graph with inputs set, after ``NODE.INPUT=VALUE`` texts.

    Raises:
        ValidationError: a node is not in the graph.
    """
    for text in texts:
        node_id, name, value = assignment(text)
        graph = set_input(graph, node_id, name, value)
    return graph


def assignment(text: str) -> tuple[str, str, Any]:
    """Node, input and value; the value is JSON where it is JSON, else the text itself."""
    target, equals, value = text.partition("=")
    node_id, dot, name = target.partition(".")
    if not (equals and dot and node_id and name):
        raise CommandError(f"--update {text} is not NODE.INPUT=VALUE", "such as --update 3.seed=42", 2)
    return node_id, name, parsed(value)


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def checked(graph: Any, file: Path, object_info: Any = None) -> list[Problem]:
    """What is wrong with a workflow but does not keep it from running.

    Raises:
        ValidationError: something does; the message says all of it.
    """
    problems = validate(graph, object_info)
    if errors := errors_of(problems):
        lines = "\n  ".join(problem.message for problem in errors)
        editor = any("editor" in problem.message for problem in errors)
        hint = f"comfyone convert {file}" if editor else "comfyone validate shows all about it"
        raise ValidationError(f"{file} can't run:\n  {lines}", hint=hint)
    return problems
