"""``comfyone jobs``."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer

from comfyone.cli.local import kept
from comfyone.cli.output import Json, fail, show, table
from comfyone.cli.remote import LOCAL, Gateway, Key, connected, data

__all__ = ["app"]

app = typer.Typer(help="Jobs: submitting, watching, cancelling, fetching.", no_args_is_help=True)

COLUMNS = ["id", "state", "progress", "backend", "created_at", "message"]


@app.command("submit")
def submit(
    workflow: Annotated[str, typer.Argument(help="Name or id of a stored workflow.")],
    values: Annotated[
        list[str] | None, typer.Argument(help="Values of its inputs, as NAME=VALUE; @FILE uploads a file.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end.")] = False,
    save: Annotated[Path | None, typer.Option(help="Wait, and save the results into this folder.")] = None,
    gateway: Gateway = LOCAL,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Run a stored workflow."""
    with connected(gateway, api_key) as client:
        job = client.submit(workflow, inputs=dict(_value(text) for text in values or ()))
        saved: list[Path] = []
        try:
            if wait or save:
                job.wait()
            if save:
                with kept(job.id, save, f"comfyone jobs save {job.id} {save} --gateway {gateway}"):
                    saved = job.save(save)
        except KeyboardInterrupt:
            raise fail(f"stopped waiting; job {job.id} goes on", f"comfyone jobs show {job.id}", code=130) from None
        record = job.status().model_dump(mode="json")
    if json:
        show({**record, "saved": saved})
    else:
        table(COLUMNS, [record])
        for path in saved:
            typer.echo(path)


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    gateway: Gateway = LOCAL,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Show jobs, newest first."""
    with connected(gateway, api_key) as client:
        records = data(client.api.get_prompt_history(limit=limit))
    show(records) if json else table(COLUMNS, records)


@app.command("show")
def show_job(job: str, gateway: Gateway = LOCAL, api_key: Key = None) -> None:
    """Print a job as JSON."""
    with connected(gateway, api_key) as client:
        show(data(client.api.get_prompt_status(job)))


@app.command("cancel")
def cancel(job: str, gateway: Gateway = LOCAL, api_key: Key = None, json: Json = False) -> None:
    """Cancel a job, wherever it is."""
    with connected(gateway, api_key) as client:
        record = data(client.api.cancel_prompt(job))
    show(record) if json else table(COLUMNS, [record])


@app.command("save")
def save(job: str, folder: Path, gateway: Gateway = LOCAL, api_key: Key = None, json: Json = False) -> None:
    """Wait for a job and save its results into a folder."""
    with connected(gateway, api_key) as client:
        saved = client.job(job).save(folder)
    if json:
        show(saved)
    else:
        typer.echo("\n".join(map(str, saved)))


def _value(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``: JSON where it is JSON, else the text itself; ``@FILE`` is a file to upload."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise fail(f"{text} is not NAME=VALUE", code=2)
    if value.startswith("@"):
        return name, Path(value[1:])
    try:
        return name, json_format.loads(value)
    except ValueError:
        return name, value
