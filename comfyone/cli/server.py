"""``comfyone queue|history|interrupt|free|models|nodes|info``: what one ComfyUI is doing, and what it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from comfyone.cli.documents import (
    DoneDocument,
    HistoryDocument,
    HistoryEntry,
    InfoDocument,
    ModelsDocument,
    NodesDocument,
    OutputRecord,
    QueueDocument,
    QueueEntry,
)
from comfyone.cli.local import CommandError, Server, client_of, output_record, print_document, settings_of, told
from comfyone.cli.output import Json, show, table
from comfyone.cli.remote import Key
from comfyone.cli.through import Through, one_way, queue_through
from comfyone.comfyui import records
from comfyone.comfyui.results import outputs_of

__all__ = ["free", "history", "info", "interrupt", "models", "nodes", "queue"]

GIB = 1024**3


def queue(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Add the server's own document.")] = False,
    server: Server = None,
    gateway: Through = None,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Show what runs and what waits."""
    with told(json):
        one_way(server, gateway)
        found = queue_through(gateway, api_key) if gateway else _queue(context, server, verbose)
    if json:
        return print_document(found)
    typer.echo(f"running {len(found.running)}, pending {len(found.pending)}")
    states = [("running", entry) for entry in found.running] + [("pending", entry) for entry in found.pending]
    if states:
        table(
            ["prompt", "state", "nodes"],
            [{"prompt": one.prompt_id, "state": state, "nodes": one.nodes} for state, one in states],
        )
    if verbose and found.raw is not None:
        show(found.raw)


def _queue(context: typer.Context, server: str | None, verbose: bool) -> QueueDocument:
    with client_of(settings_of(context, comfyui__url=server)) as client:
        queue = client.get_queue()
    running, pending = (tuple(map(_queued, part)) for part in (queue.running, queue.pending))
    return QueueDocument(running=running, pending=pending, raw=queue if verbose else None)


def _queued(entry: records.QueueEntry) -> QueueEntry:
    return QueueEntry(prompt_id=entry.prompt_id, number=entry.number, nodes=len(entry.prompt))


def history(
    context: typer.Context,
    prompt: Annotated[str | None, typer.Argument(help="One prompt's id; otherwise the newest.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    server: Server = None,
    json: Json = False,
) -> None:
    """Show what has run."""
    with told(json), client_of(settings_of(context, comfyui__url=server)) as client:
        found = client.get_history(prompt) if prompt else client.get_history(max_items=limit)
        if prompt and not found:
            text = f"the server's history has no prompt '{prompt}'"
            raise CommandError(text, "it may still wait or run: see 'comfyone queue'", prompt_id=prompt)
    entries = tuple(_entry(prompt_id, entry) for prompt_id, entry in reversed(list(found.items())))
    if json:
        print_document(HistoryDocument(entries=entries))
        return
    rows = [{"prompt": one.prompt_id, "status": one.status, "outputs": _listed(one.outputs)} for one in entries]
    table(["prompt", "status", "outputs"], rows)


def _entry(prompt_id: str, entry: Mapping[str, Any]) -> HistoryEntry:
    outputs = tuple(output_record(**output) for output in outputs_of(entry))
    status = entry.get("status")
    told = status.get("status_str") if isinstance(status, dict) else None
    return HistoryEntry(prompt_id=prompt_id, status=str(told or "unknown"), outputs=outputs)


def _listed(outputs: tuple[OutputRecord, ...]) -> str:
    return ", ".join(one.filename or str(one.value) for one in outputs)


def interrupt(
    context: typer.Context,
    prompt: Annotated[
        str | None, typer.Argument(help="The one prompt to stop, waiting or running; otherwise whatever runs.")
    ] = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Stop a prompt."""
    with told(json), client_of(settings_of(context, comfyui__url=server)) as client:
        done = True
        if prompt:
            done = client.cancel_prompt(prompt)
        else:
            client.interrupt_execution()
    if json:
        print_document(DoneDocument(done=done, prompt_id=prompt))
    else:
        typer.echo("stopped" if done else f"nothing to stop: prompt '{prompt}' neither waits nor runs")
    if not done:
        raise typer.Exit(1)


def free(
    context: typer.Context,
    models: Annotated[bool, typer.Option(help="Unload the models too.")] = True,
    server: Server = None,
    json: Json = False,
) -> None:
    """Have the server free its memory."""
    with told(json), client_of(settings_of(context, comfyui__url=server)) as client:
        client.free_memory(unload_models=models, free_memory=True)
    print_document(DoneDocument(done=True)) if json else typer.echo("asked to free its memory")


def models(
    context: typer.Context,
    folder: Annotated[str | None, typer.Argument(help="Show what is in this folder; otherwise the folders.")] = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Show the server's models."""
    with told(json), client_of(settings_of(context, comfyui__url=server)) as client:
        names = client.get_models(folder) if folder else client.get_models()
    if json:
        print_document(ModelsDocument(folder=folder, names=tuple(names)))
    else:
        typer.echo("\n".join(names))


def nodes(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A class, to see its inputs and outputs; or part of a name.")
    ] = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Show the node classes that the server has."""
    with told(json), client_of(settings_of(context, comfyui__url=server)) as client:
        known = client.get_object_info()
        found = tuple(sorted(each for each in known if name is None or name.lower() in each.lower()))
        if name is not None and not found:
            text = f"the server has no node class '{name}', nor one whose name holds that"
            raise CommandError(text, "see 'comfyone nodes' for all of them")
    if name in known:
        info = known[name]
        print_document(NodesDocument(names=(name,), info=info)) if json else _describe(name, info)
        return
    if json:
        print_document(NodesDocument(names=found))
    else:
        typer.echo("\n".join(found))


def _describe(name: str, info: Mapping[str, Any]) -> None:
    typer.echo(f"{name} ({info.get('category') or 'no category'})")
    rows = []
    for group, inputs in (info.get("input") or {}).items():
        for each, spec in inputs.items():
            rows.append({"input": each, "": group, "type": _type_of(spec), "about": _about(spec)})
    table(["input", "", "type", "about"], rows)
    typer.echo("outputs: " + (", ".join(map(str, info.get("output") or ())) or "none"))


def _type_of(spec: Any) -> str:
    kind = spec[0] if isinstance(spec, list) and spec else spec
    return "COMBO" if isinstance(kind, list) else str(kind)


def _about(spec: Any) -> str:
    if not isinstance(spec, list) or not spec:
        return ""
    options = dict(spec[1]) if len(spec) > 1 and isinstance(spec[1], dict) else {}
    choices = spec[0] if isinstance(spec[0], list) else options.get("options")
    shown = [f"{key} {options[key]}" for key in ("default", "min", "max", "step") if key in options]
    if isinstance(choices, list):
        shown.append(f"{len(choices)} choices: {', '.join(map(str, choices[:5]))}" + (" …" if len(choices) > 5 else ""))
    return ", ".join(shown)


def info(context: typer.Context, server: Server = None, json: Json = False) -> None:
    """Show which server it is, and what it runs on."""
    with told(json), client_of(settings_of(context, comfyui__url=server)) as client:
        stats, url = client.get_system_stats(), client.base_url
        waiting = client.get_prompt().get("exec_info", {}).get("queue_remaining")
    if json:
        print_document(
            InfoDocument(url=url, system=stats.system, devices=tuple(stats.devices), queue_remaining=waiting)
        )
        return
    version = stats.system.comfyui_version or "of an unknown version"
    typer.echo(f"{url}: ComfyUI {version}, {waiting} in the queue")
    python, torch = (str(stats.system.get(f"{name}_version") or "unknown") for name in ("python", "pytorch"))
    typer.echo(f"Python {python.partition(' ')[0]}, PyTorch {torch}")
    rows = [
        {"device": one.get("name"), "memory": _memory(one, "vram_total"), "free": _memory(one, "vram_free")}
        for one in stats.devices
    ]
    table(["device", "memory", "free"], rows)


def _memory(device: Mapping[str, Any], name: str) -> str:
    size = device.get(name)
    return f"{size / GIB:.1f} GiB" if isinstance(size, int | float) else ""
