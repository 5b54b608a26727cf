"""The command and its groups."""

from __future__ import annotations

import sys
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from comfyone.cli import (
    backends,
    batch,
    config,
    files,
    gateway,
    graphs,
    jobs,
    keys,
    reports,
    sandbox,
    send,
    server,
    tenants,
    workflows,
)
from comfyone.cli.local import Given

__all__ = ["app", "main"]

COMFYUI, GATEWAY = "One ComfyUI server", "Through a gateway"
SERVERS, ADMINISTRATION = "Servers to run", "On the state of a gateway"

app = typer.Typer(
    name="comfyone",
    help="Any number of ComfyUI servers as one dependable backend.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"comfyone {version('comfyone')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="A YAML file with the settings for ComfyUI; otherwise config.yaml, if it is there."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting for ComfyUI, as SECTION.NAME=VALUE; may be repeated.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(1)
    context.obj = Given.parse(config, set_ or ())


app.command("send", rich_help_panel=COMFYUI)(send.send)
app.command("wait", rich_help_panel=COMFYUI)(send.wait)
app.command("batch", rich_help_panel=COMFYUI)(batch.batch)
app.command("validate", rich_help_panel=COMFYUI)(graphs.validate)
app.command("convert", rich_help_panel=COMFYUI)(graphs.convert)
app.command("template", rich_help_panel=COMFYUI)(graphs.template)
app.command("upload", rich_help_panel=COMFYUI)(files.upload)
app.command("download", rich_help_panel=COMFYUI)(files.download)
app.command("queue", rich_help_panel=COMFYUI)(server.queue)
app.command("history", rich_help_panel=COMFYUI)(server.history)
app.command("interrupt", rich_help_panel=COMFYUI)(server.interrupt)
app.command("free", rich_help_panel=COMFYUI)(server.free)
app.command("models", rich_help_panel=COMFYUI)(server.models)
app.command("nodes", rich_help_panel=COMFYUI)(server.nodes)
app.command("info", rich_help_panel=COMFYUI)(server.info)
app.command("config", rich_help_panel=COMFYUI)(config.config)
app.command("gateway", rich_help_panel=SERVERS)(gateway.gateway)
app.command("sandbox", rich_help_panel=SERVERS)(sandbox.sandbox)
app.command("usage", rich_help_panel=ADMINISTRATION)(reports.usage)
app.command("audit", rich_help_panel=ADMINISTRATION)(reports.audit)
app.add_typer(tenants.app, name="tenants", rich_help_panel=ADMINISTRATION)
app.add_typer(keys.app, name="keys", rich_help_panel=ADMINISTRATION)
app.add_typer(backends.app, name="backends", rich_help_panel=GATEWAY)
app.add_typer(workflows.app, name="workflows", rich_help_panel=GATEWAY)
app.add_typer(jobs.app, name="jobs", rich_help_panel=GATEWAY)


def main() -> None:
    """Runs the command; Ctrl-C ends it with code 130 and without a traceback."""
    # Half a character, or a terminal of old, must not end a command.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    if isinstance(sys.stderr, TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
