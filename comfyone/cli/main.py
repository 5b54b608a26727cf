"""The command and its groups."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from comfyone.cli import backends, gateway, jobs, keys, reports, sandbox, tenants, workflows

__all__ = ["app", "main"]

app = typer.Typer(
    name="comfyone",
    help="Any number of ComfyUI servers as one dependable backend.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"comfyone {version('comfyone')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("gateway")(gateway.gateway)
app.command("sandbox")(sandbox.sandbox)
app.command("usage")(reports.usage)
app.command("audit")(reports.audit)
app.add_typer(tenants.app, name="tenants")
app.add_typer(keys.app, name="keys")
app.add_typer(backends.app, name="backends")
app.add_typer(workflows.app, name="workflows")
app.add_typer(jobs.app, name="jobs")


def main() -> None:
    """Runs the command; Ctrl-C ends it with code 130 and without a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
