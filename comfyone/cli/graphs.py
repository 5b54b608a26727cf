"""``comfyone validate``, ``convert`` and ``template``: what can be done to a workflow without running it."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from comfyone.cli.documents import ConversionDocument, ProblemRecord, TemplateDocument, ValidationDocument
from comfyone.cli.local import CommandError, Server, client_of, print_document, settings_of, told
from comfyone.cli.output import Json, show, table
from comfyone.cli.remote import Key
from comfyone.cli.through import Through, one_way, settings_through
from comfyone.cli.workflow import JSON_SUFFIXES, load, parsed
from comfyone.errors import ValidationError
from comfyone.graph.convert import convert as converted
from comfyone.graph.convert import diff
from comfyone.graph.document import Problem
from comfyone.graph.edit import info
from comfyone.graph.files import load_graph, save_graph
from comfyone.graph.metadata import read_metadata
from comfyone.graph.templates import make_template
from comfyone.graph.validate import errors_of
from comfyone.graph.validate import validate as problems_of

__all__ = ["convert", "template", "validate"]

ObjectInfo = Annotated[
    Path | None, typer.Option(help="A file with what GET /object_info of the server answered, in place of a server.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Save it here; otherwise it is printed.")]


def validate(
    context: typer.Context,
    workflow: Annotated[Path, typer.Argument(help="A workflow in API format.")],
    server: Server = None,
    gateway: Through = None,
    api_key: Key = None,
    object_info: ObjectInfo = None,
    json: Json = False,
) -> None:
    """Check a workflow; with --server, --gateway or --object-info also its classes, types and values."""
    with told(json):
        graph = load(workflow)
        against = object_info or server or gateway
        known = _known(context, server, gateway, api_key, object_info) if against else None
        problems = problems_of(graph, known)
    valid = not errors_of(problems)
    counted = info(graph) if valid else None
    document = ValidationDocument(
        file=workflow,
        valid=valid,
        checked_against=str(against) if against else None,
        total_nodes=counted.total_nodes if counted else None,
        node_types=counted.node_types if counted else {},
        problems=tuple(map(_record, problems)),
    )
    if json:
        print_document(document)
    elif valid:
        typer.echo(f"{workflow} is valid: {document.total_nodes} nodes")
        table(["class", "nodes"], [{"class": name, "nodes": count} for name, count in document.node_types.items()])
    for problem in () if json else document.problems:
        near = f" (such as {', '.join(problem.suggestions)})" if problem.suggestions else ""
        typer.echo(f"{problem.severity}: {problem.message}{near}", err=True)
    if not valid:
        raise typer.Exit(1)


def _record(problem: Problem) -> ProblemRecord:
    return ProblemRecord(
        severity=problem.severity,
        message=problem.message,
        node_id=problem.node_id,
        input=problem.input_name,
        suggestions=tuple(map(str, problem.suggestions)),
    )


def _known(
    context: typer.Context, server: str | None, gateway: str | None, api_key: str | None, file: Path | None
) -> Mapping[str, Any]:
    one_way(server, gateway)
    if file is not None:
        found = load_graph(file)
        if "nodes" in found or not all(isinstance(each, dict) and "input" in each for each in found.values()):
            raise ValidationError(f"{file} is no answer of GET /object_info")
        return found
    with client_of(settings_through(settings_of(context, comfyui__url=server), gateway, api_key)) as client:
        return client.get_object_info()


def convert(
    context: typer.Context,
    workflow: Annotated[
        Path, typer.Argument(help="A workflow saved by ComfyUI's editor, or a picture that holds one.")
    ],
    output: Output = None,
    compare: Annotated[
        Path | None, typer.Option("--diff", help="Show how the outcome differs from this API file.")
    ] = None,
    server: Server = None,
    gateway: Through = None,
    api_key: Key = None,
    object_info: ObjectInfo = None,
    json: Json = False,
) -> None:
    """Turn the editor's format into the API's. The server's node classes say what its values mean."""
    with told(json):
        drawn = _drawn(workflow)
        known = _known(context, server, gateway, api_key, object_info)
        conversion = converted(drawn, known, now=datetime.now())
        differences = tuple(str(diff(load(compare), conversion.graph)).splitlines()) if compare else ()
        if output:
            save_graph(conversion.graph, output)
    notes = tuple(map(str, conversion.notes))
    if json:
        graph = None if output else conversion.graph
        return print_document(
            ConversionDocument(file=workflow, saved=output, graph=graph, notes=notes, differences=differences)
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    for difference in differences:
        typer.echo(difference)
    if compare and not differences:
        typer.echo(f"the same as {compare}")
    if output:
        typer.echo(f"saved {output}")
    elif not compare:
        show(conversion.graph)


def _drawn(file: Path) -> Mapping[str, Any]:
    """A workflow as the editor saved it."""
    if file.suffix.lower() in JSON_SUFFIXES:
        return load_graph(file)
    found: Mapping[str, Any] | None = read_metadata(file).workflow
    if found is None:
        raise ValidationError(f"{file} holds no workflow of the editor")
    return found


def template(
    workflow: Annotated[Path, typer.Argument(help="A workflow in API format.")],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=NODE.INPUT; may be repeated.")
    ] = None,
    value: Annotated[list[str] | None, typer.Option("--value", "-V", help="NAME=VALUE, as JSON or text.")] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Give inputs of a workflow names, and fill them in."""
    with told(json):
        graph = load(workflow)
        places = dict(_place(text) for text in parameter or ())
        made = make_template(graph, places)
        filled = made.instantiate(dict(_named(text) for text in value or ()))
        if output:
            save_graph(filled, output)
    present = make_template(filled, places).values()
    if json:
        return print_document(TemplateDocument(parameters=present, saved=output, graph=None if output else filled))
    for name, content in present.items():
        typer.echo(f"{name} = {json_format.dumps(content, ensure_ascii=False)}", err=True)
    if output:
        typer.echo(f"saved {output}")
    else:
        show(filled)


def _place(text: str) -> tuple[str, dict[str, str]]:
    name, equals, target = text.partition("=")
    node_id, dot, input_name = target.partition(".")
    if not (name and equals and dot and node_id and input_name):
        raise CommandError(f"--parameter {text} is not NAME=NODE.INPUT", "such as --parameter prompt=6.text", 2)
    return name, {"node_id": node_id, "input_name": input_name}


def _named(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise CommandError(f"--value {text} is not NAME=VALUE", "such as --value 'prompt=an owl'", 2)
    return name, parsed(value)
