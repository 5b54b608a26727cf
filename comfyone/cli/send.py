"""``comfyone send`` and ``comfyone wait``: one workflow on one ComfyUI, from the file to the saved results."""

from __future__ import annotations

import json as json_format
import time
from collections.abc import Mapping
from concurrent.futures import wait as wait_for
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from PIL import UnidentifiedImageError

from comfyone.cli.documents import ErrorRecord, OutputRecord, SendDocument
from comfyone.cli.live import Watch, watching
from comfyone.cli.local import (
    CommandError,
    Server,
    client_of,
    error_record,
    kept,
    output_record,
    print_document,
    settings_of,
    told,
)
from comfyone.cli.output import Json, fail
from comfyone.cli.remote import Key
from comfyone.cli.through import Through, one_way, send_through, settings_through
from comfyone.cli.workflow import Update, checked, load, updated
from comfyone.comfyui.events import Event, Preview
from comfyone.errors import ComfyExecutionError, PromptTimeoutError
from comfyone.graph.document import node_title
from comfyone.graph.seeds import randomize
from comfyone.settings.client import ClientSettings
from comfyone.utils.files import write_over
from comfyone.utils.text import format_duration

if TYPE_CHECKING:
    from comfyone.comfyui.client import ComfyUIClient
    from comfyone.comfyui.futures import PromptFuture
    from comfyone.comfyui.results import Execution

__all__ = ["send", "wait"]

Timeout = Annotated[
    float | None, typer.Option("--timeout", "-t", min=0.001, help="Seconds to wait; otherwise as the settings say.")
]
GLANCE = 0.1
"""Seconds between two looks at how far a prompt is."""

Folder = Annotated[Path | None, typer.Option("--output-dir", "-o", help="Save the results here.")]


def send(
    context: typer.Context,
    workflow: Annotated[Path, typer.Argument(help="A workflow in API format, or a picture that ComfyUI made.")],
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the end, and save the results.")] = False,
    timeout: Timeout = None,
    update: Update = None,
    random_seeds: Annotated[bool, typer.Option("--random-seeds", help="Draw every seed anew, and tell them.")] = False,
    output_dir: Folder = None,
    server: Server = None,
    gateway: Through = None,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Run a workflow."""
    with told(json):
        one_way(server, gateway)
        settings = settings_of(context, comfyui__url=server, comfyui__timeout=timeout, output__output_dir=output_dir)
        graph = updated(load(workflow), update or ())
        seeds: Mapping[str, int] = {}
        if random_seeds:
            drawn = randomize(graph)
            graph, seeds = drawn.graph, _by_input(drawn.seeds)
        if settings.workflow.validate_before_send:
            checked(graph, workflow)
        if not settings.workflow.auto_queue:
            return _tell(SendDocument(prompt_id=None, state="prepared", seeds=seeds), json)
        if gateway:
            title = workflow.stem
            document = send_through(gateway, api_key, graph, settings, seeds, title=title, wait=wait, quiet=json)
            return _finish(document, json)
        with client_of(settings) as client:
            if not wait:
                sent = client.queue_prompt(graph)
                return _tell(SendDocument(prompt_id=sent["prompt_id"], state="queued", seeds=seeds), json)
            future = client.submit(graph)
            _say(json, f"prompt {future.prompt_id}")
            again = _again(future.prompt_id, server)
            document = _follow(client, future, settings, json, workflow.stem, again, graph, seeds)
    _finish(document, json)


def _by_input(seeds: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {f"{node_id}.{name}": seed for node_id, inputs in seeds.items() for name, seed in inputs.items()}


def wait(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="The id that 'comfyone send' printed.")],
    timeout: Timeout = None,
    output_dir: Folder = None,
    server: Server = None,
    gateway: Through = None,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Pick a prompt up again: wait for its end, and save its results."""
    with told(json):
        one_way(server, gateway)
        settings = settings_of(context, comfyui__url=server, comfyui__timeout=timeout, output__output_dir=output_dir)
        with client_of(settings_through(settings, gateway, api_key)) as client:
            document = _follow(
                client, client.future_of(prompt), settings, json, prompt, _again(prompt, server, gateway)
            )
    _finish(document, json)


def _follow(
    client: ComfyUIClient,
    future: PromptFuture,
    settings: ClientSettings,
    json: bool,
    title: str,
    again: str,
    graph: Mapping[str, Any] | None = None,
    seeds: Mapping[str, int] | None = None,
) -> SendDocument:
    """Waits for a prompt, with a display for people, and saves what it produced. ``again`` is the command that does so later."""
    prompt_id, began = future.prompt_id, time.monotonic()
    try:
        with watching(title, quiet=json) as watch:
            client.listen(partial(_show, watch))
            execution = _awaited(future, settings.comfyui.timeout, watch, graph or {})
    except KeyboardInterrupt:
        text = f"stopped waiting; prompt {prompt_id} goes on"
        raise CommandError(text, again, 130, prompt_id=prompt_id) from None
    except PromptTimeoutError as error:
        error.hint = again
        raise
    except ComfyExecutionError as error:
        state: Literal["interrupted", "failed"] = "interrupted" if error.interrupted else "failed"
        return SendDocument(prompt_id=prompt_id, state=state, seeds=seeds or {}, error=error_record(error))
    seconds = round(time.monotonic() - began, 3)
    with kept(prompt_id, settings.output.output_dir, again):
        outputs = tuple(_saved(execution, settings))
        document = SendDocument(
            prompt_id=prompt_id, state="succeeded", seeds=seeds or {}, seconds=seconds, outputs=outputs
        )
        if not settings.output.save_metadata:
            return document
        path = _describe(document, execution, graph, settings.output.output_dir)
    return document.model_copy(update={"metadata": path})


def _again(prompt_id: str, server: str | None = None, gateway: str | None = None) -> str:
    where = f" --gateway {gateway}" if gateway else f" --server {server}" if server else ""
    return f"comfyone wait {prompt_id}{where}"


def _awaited(future: PromptFuture, seconds: float, watch: Watch, graph: Mapping[str, Any]) -> Execution:
    deadline = time.monotonic() + seconds
    while not wait_for([future], max(0.0, min(GLANCE, deadline - time.monotonic()))).done:
        progress = future.progress
        watch.advance(100 * progress.fraction, _named(progress.node, graph))
        if time.monotonic() >= deadline:
            break
    if not future.done():
        raise PromptTimeoutError(future.prompt_id, f"prompt {future.prompt_id} has not ended within {seconds:g} s")
    execution = future.result(0)
    watch.advance(100.0, "")
    return execution


def _named(node_id: str | None, graph: Mapping[str, Any]) -> str | None:
    """A node as a person knows it."""
    node = graph.get(node_id or "")
    return node_id if node is None else f"{node_title(node) or node['class_type']} ({node_id})"


def _show(watch: Watch, event: Event) -> None:
    if isinstance(event, Preview):
        with suppress(UnidentifiedImageError):
            watch.show(event.image)


def _saved(execution: Execution, settings: ClientSettings) -> list[OutputRecord]:
    folder = settings.output.output_dir
    if settings.output.download_results:
        folder.mkdir(parents=True, exist_ok=True)
    return [
        output_record(output.node_id, output.kind, output.file, output.value, output.about).model_copy(
            update={"path": output.save(folder) if output.file and settings.output.download_results else None}
        )
        for output in execution.outputs
    ]


def _describe(document: SendDocument, execution: Execution, graph: Mapping[str, Any] | None, folder: Path) -> Path:
    """Writes down how a run came about: enough to run it again."""
    path = folder / f"{execution.prompt_id}_metadata.json"
    described = {
        **document.model_dump(mode="json", exclude={"metadata", "error"}),
        "workflow": graph if graph is not None else _graph_of(execution),
        "history": execution.raw,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_over(path, [json_format.dumps(described, indent=2, ensure_ascii=False).encode()])
    return path


def _graph_of(execution: Execution) -> Any:
    prompt = execution.raw.get("prompt")
    return prompt[2] if isinstance(prompt, list) and len(prompt) > 2 else None


def _finish(document: SendDocument, json: bool) -> None:
    if document.error is not None and not json:
        raise _failed(document.error)
    _tell(document, json)
    if document.error is not None:
        raise typer.Exit(1)


def _failed(error: ErrorRecord) -> typer.Exit:
    return fail(error.message, error.hint)


def _tell(document: SendDocument, json: bool) -> None:
    if json:
        return print_document(document)
    match document.state:
        case "prepared":
            typer.echo("prepared; not queued, as the settings say (workflow.auto_queue)")
        case "queued":
            typer.echo(document.prompt_id)
        case _:
            took = f" in {format_duration(document.seconds)}" if document.seconds is not None else ""
            typer.echo(f"{document.state}{took}")
    for name, seed in document.seeds.items():
        typer.echo(f"seed      {name} = {seed}")
    for output in document.outputs:
        typer.echo(f"saved     {output.path}" if output.path else f"output    {output.filename or output.value}")


def _say(json: bool, text: str) -> None:
    """For people, beside the document: nobody who reads a document has to skip it."""
    if not json:
        typer.echo(text, err=True)
