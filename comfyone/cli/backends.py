"""``comfyone backends``."""

from __future__ import annotations

from typing import Annotated

import typer

from comfyone.cli.output import Json, fail, show, table
from comfyone.cli.remote import LOCAL, Gateway, Key, connected, data

__all__ = ["app"]

app = typer.Typer(help="The ComfyUI servers that jobs run on.", no_args_is_help=True)

COLUMNS = ["name", "url", "status", "running", "weight", "reason"]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Its name; or its url, which then is the name too.")],
    url: Annotated[str | None, typer.Option(help="Where it answers.")] = None,
    weight: Annotated[int | None, typer.Option(help="Its share under weighted placement.", min=1)] = None,
    label: Annotated[list[str] | None, typer.Option(help="A label, as NAME=VALUE; may be repeated.")] = None,
    down: Annotated[bool, typer.Option("--down", help="Register it without asking whether it answers.")] = False,
    gateway: Gateway = LOCAL,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Register a server."""
    labels = dict(_label(text) for text in label or ())
    with connected(gateway, api_key) as client:
        record = data(
            client.api.register_backend(
                name, url=url, weight=weight, labels=labels or None, state="down" if down else None
            )
        )
    show(record) if json else table(COLUMNS, [record])


@app.command("list")
def list_backends(gateway: Gateway = LOCAL, api_key: Key = None, json: Json = False) -> None:
    """Show the servers and how they are."""
    with connected(gateway, api_key) as client:
        records = data(client.api.get_available_backends())
    show(records) if json else table(COLUMNS, records)


@app.command("set")
def set_state(
    name: str,
    state: Annotated[str, typer.Argument(help="up, draining or down.")],
    gateway: Gateway = LOCAL,
    api_key: Key = None,
    json: Json = False,
) -> None:
    """Take a server up, let it drain, or take it down."""
    with connected(gateway, api_key) as client:
        record = data(client.api.set_backend_state(name, state))
    show(record) if json else table(COLUMNS, [record])


@app.command("remove")
def remove(name: str, gateway: Gateway = LOCAL, api_key: Key = None, json: Json = False) -> None:
    """Remove a server; its jobs go back to the queue."""
    with connected(gateway, api_key) as client:
        data(client.api.delete_backend(name))
    show({"removed": name}) if json else typer.echo(f"removed {name}")


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise fail(f"--label {text} is not NAME=VALUE", code=2)
    return name, value
