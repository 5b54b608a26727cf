"""``comfyone gateway``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comfyone.cli.extras import need
from comfyone.cli.output import fail, reported
from comfyone.settings.gateway import GatewaySettings, load_settings

__all__ = ["gateway"]


def _help(name: str) -> str:
    field = GatewaySettings.model_fields[name]
    return f"{(field.description or '').capitalize()}."


def gateway(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A YAML file with settings.")] = None,
    host: Annotated[str | None, typer.Option(help=_help("host"))] = None,
    port: Annotated[int | None, typer.Option(help=_help("port"))] = None,
    state_dir: Annotated[Path | None, typer.Option(help=_help("state_dir"))] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="A server that tenants may register by name, as NAME=URL.")
    ] = None,
    open_tenant: Annotated[str | None, typer.Option(help=_help("open_tenant"))] = None,
    max_body: Annotated[int | None, typer.Option(help=_help("max_body"))] = None,
    max_upload: Annotated[int | None, typer.Option(help=_help("max_upload"))] = None,
    max_bytes: Annotated[int | None, typer.Option(help=_help("max_bytes"))] = None,
    inline_size: Annotated[int | None, typer.Option(help=_help("inline_size"))] = None,
    upload_ttl: Annotated[float | None, typer.Option(help=_help("upload_ttl"))] = None,
    public_url: Annotated[str | None, typer.Option(help=_help("public_url"))] = None,
    max_streams: Annotated[int | None, typer.Option(help=_help("max_streams"))] = None,
    max_sockets: Annotated[int | None, typer.Option(help=_help("max_sockets"))] = None,
    max_queued: Annotated[int | None, typer.Option(help=_help("max_queued"))] = None,
    max_running: Annotated[int | None, typer.Option(help=_help("max_running"))] = None,
    max_per_minute: Annotated[int | None, typer.Option(help=_help("max_per_minute"))] = None,
    max_backend_seconds: Annotated[float | None, typer.Option(help=_help("max_backend_seconds"))] = None,
    stall_after: Annotated[float | None, typer.Option(help=_help("stall_after"))] = None,
    schedule_timeout: Annotated[float | None, typer.Option(help=_help("schedule_timeout"))] = None,
    lost_after: Annotated[float | None, typer.Option(help=_help("lost_after"))] = None,
    attempts: Annotated[int | None, typer.Option(help=_help("attempts"))] = None,
    retention: Annotated[float | None, typer.Option(help=_help("retention"))] = None,
    allow_private: Annotated[
        list[str] | None, typer.Option(help=_help("allow_private") + " A CIDR; may be repeated.")
    ] = None,
    webhook_retries: Annotated[
        str | None, typer.Option(help=_help("webhook_retries") + " Seconds, such as 5,30,120.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help=_help("log_level"))] = None,
) -> None:
    """Serve tenants, backends, workflows and jobs over HTTP.

    Every option can also be given as COMFYONE_<NAME> in the environment or by its name in the settings file.
    """
    arguments = {name: value for name, value in locals().items() if name not in ("config", "backend")}
    arguments["allow_private"] = allow_private or None
    with reported():
        if backend:
            arguments["backends"] = dict(_backend(text) for text in backend)
        settings = load_settings(config, arguments)
        server = need("comfyone.gateway.server", "gateway")
        server.serve_gateway(settings)


def _backend(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not name or not equals or not url:
        raise fail(f"--backend {text} is not NAME=URL", "such as gpu-1=http://10.0.0.7:8188", code=2)
    return name, url
