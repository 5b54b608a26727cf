"""``comfyone sandbox``: a ComfyUI look-alike for work without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from comfyone.cli.extras import need

if TYPE_CHECKING:
    from comfyone.emulator import Server


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 chooses a free one.", min=0, max=65535)] = 8188,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where files and the record of executions are kept; else they go at the end.")
    ] = None,
    step_time: Annotated[float, typer.Option(help="Seconds that a sampler step takes.", min=0)] = 0.0,
    object_info_delay: Annotated[float, typer.Option(help="Seconds that /object_info takes.", min=0)] = 0.0,
    object_info_padding: Annotated[float, typer.Option(help="Megabytes to add to /object_info.", min=0)] = 0.0,
    knob: Annotated[
        list[str] | None, typer.Option(help="Any other knob of the scenario, as NAME=JSON. May be repeated.")
    ] = None,
) -> None:
    """Run a ComfyUI look-alike that needs no GPU and no model.

    It speaks the native HTTP and WebSocket interface, computes real pixels for nodes that need no model, and paints
    a picture of its own for the classic text-to-image graph. Its troubles can be set while it runs, through
    GET and PATCH /sandbox/scenario.
    """
    errors = Console(stderr=True)
    need("comfyone.emulator", "sandbox")
    # Here, so that the other commands are quick and need nothing of it.
    from comfyone.emulator import PortTakenError, Scenario, ScenarioError, serve  # noqa: PLC0415

    scenario = Scenario(step_time, object_info_delay=object_info_delay, object_info_padding=object_info_padding)
    try:
        scenario.apply_texts(knob or [])
        serve(host, port, state_dir, scenario, _say)
    except ScenarioError as error:
        errors.print(f"sandbox: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except OSError as error:
        told = error.strerror if isinstance(error, PortTakenError) else error
        errors.print(f"sandbox: {told}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _say(server: Server) -> None:
    Console().print(f"sandbox listening on {server.url}", highlight=False, soft_wrap=True)
