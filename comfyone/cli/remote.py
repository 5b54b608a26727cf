"""The gateway that a command speaks to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from comfyone.api.comfyone import ComfyOne
from comfyone.cli.output import fail, reported
from comfyone.wire.v1 import APIResponse

__all__ = ["Gateway", "Key", "connected", "data"]

Gateway = Annotated[str, typer.Option("--gateway", envvar="COMFYONE_DOMAIN", help="The gateway's address.")]
Key = Annotated[str | None, typer.Option("--api-key", envvar="COMFYONE_API_KEY", show_envvar=True, help="The API key.")]
LOCAL = "http://127.0.0.1:8080"


@contextmanager
def connected(gateway: str, api_key: str | None) -> Iterator[ComfyOne]:
    """A client of the gateway; its errors become messages."""
    if not api_key:
        raise fail("no API key was given", "pass --api-key, or export COMFYONE_API_KEY", code=2)
    with reported(), ComfyOne(api_key, domain=gateway) as client:
        yield client


def data(response: APIResponse) -> Any:
    """What a call answered; raises for an error that came with HTTP 200."""
    response.raise_for_code()
    return response.data
