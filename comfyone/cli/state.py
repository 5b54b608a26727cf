"""The state that an administrative command works on, also beside a running gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from comfyone.cli.extras import need
from comfyone.cli.output import reported
from comfyone.settings.gateway import load_settings

__all__ = ["StateDir", "moment", "opened"]

StateDir = Annotated[Path | None, typer.Option(help="The gateway's state folder.")]


@contextmanager
def opened(state_dir: Path | None) -> Iterator[Any]:
    """A transaction on the state; its errors become messages."""
    with reported():
        folder = load_settings(None, {"state_dir": state_dir}).state_dir
        path = need("comfyone.gateway.app", "gateway").database_path(folder)
        with need("comfyone.gateway.storage.sqlite", "gateway").transaction(path) as session:
            yield session


def moment(seconds: float | None) -> str | None:
    """A time as RFC 3339."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
