"""``comfyone workflows``."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer

from comfyone.cli.output import Json, fail, show, table
from comfyone.cli.remote import LOCAL, Gateway, Key, connected, data
from comfyone.graph.declared import DeclaredInput, declared_inputs
from comfyone.graph.function import function_source
from comfyone.graph.schema import json_schema
from comfyone.wire.v1 import (
    IOType,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)

__all__ = ["app"]

app = typer.Typer(help="Stored workflows.", no_args_is_help=True)

COLUMNS = ["name", "version", "id", "updated_at"]


@app.command("add")
def add(
    name: str,
    graph: Annotated[Path, typer.Argument(help="The graph, exported with 'Save (API format)'.")],
    input: Annotated[
        list[str] | None, typer.Option(help="A declared input, as NODE:NAME:TYPE; may be repeated.")
    ] = None,
    output: Annotated[
        list[str] | None, typer.Option(help="A node whose files are the result; may be repeated.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Store the next version of an existing workflow.")] = False,
    gateway: Gateway = LOCAL,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Store a workflow with its declared inputs and outputs."""
    declared = WorkflowInputPayload(inputs=[_input(text) for text in input or ()])
    outputs = WorkflowOutputPayload(outputs=[WorkflowOutput(id=node_id) for node_id in output or ()])
    with connected(gateway, api_key) as client:
        payload = WorkflowPayload(name=name, inputs=declared, outputs=outputs, workflow=_graph(graph))
        record = data(client.api.update_workflow(name, payload) if update else client.api.create_workflow(payload))
    show(record) if json else table(COLUMNS, [record])


@app.command("list")
def list_workflows(gateway: Gateway = LOCAL, api_key: Key = None, json: Json = False) -> None:
    """Show the stored workflows."""
    with connected(gateway, api_key) as client:
        records = data(client.api.get_workflows())
    show(records) if json else table(COLUMNS, records)


@app.command("show")
def show_workflow(name: str, gateway: Gateway = LOCAL, api_key: Key = None) -> None:
    """Print a workflow as JSON, its graph included."""
    with connected(gateway, api_key) as client:
        show(data(client.api.get_workflow(name)))


@app.command("schema")
def schema(name: str, gateway: Gateway = LOCAL, api_key: Key = None) -> None:
    """Print the JSON Schema of a workflow's inputs: for a form, or a tool of an agent."""
    with connected(gateway, api_key) as client:
        record = data(client.api.get_workflow(name))
        show(json_schema(record["name"], _declared(record)))


@app.command("function")
def function(
    name: str,
    asynchronous: Annotated[bool, typer.Option("--async", help="One to be awaited.")] = False,
    gateway: Gateway = LOCAL,
    api_key: Key = None,
) -> None:
    """Print a Python module with a typed function that runs a workflow."""
    with connected(gateway, api_key) as client:
        record = data(client.api.get_workflow(name))
        typer.echo(function_source(record["name"], _declared(record), asynchronous=asynchronous), nl=False)


def _declared(record: dict[str, Any]) -> list[DeclaredInput]:
    return declared_inputs(record["inputs"], record["workflow"])


@app.command("remove")
def remove(name: str, gateway: Gateway = LOCAL, api_key: Key = None, json: Json = False) -> None:
    """Delete a workflow; jobs that are accepted still run."""
    with connected(gateway, api_key) as client:
        data(client.api.delete_workflow(name))
    show({"removed": name}) if json else typer.echo(f"removed {name}")


def _input(text: str) -> WorkflowInput:
    parts = text.split(":")
    if len(parts) != 3 or parts[2] not in {kind.value for kind in IOType}:
        raise fail(
            f"--input {text} is not NODE:NAME:TYPE", f"types are {', '.join(IOType)}; such as 3:seed:number", code=2
        )
    return WorkflowInput(id=parts[0], name=parts[1], type=IOType(parts[2]))


def _graph(path: Path) -> dict[str, Any]:
    try:
        graph = json_format.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise fail(f"{path} is not JSON: {error}") from None
    if not isinstance(graph, dict):
        raise fail(f"{path} holds no graph", "export it with 'Save (API format)'")
    return graph
