"""Parts that are installed on request."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from comfyone.cli.output import fail

__all__ = ["need"]


def need(module: str, extra: str) -> ModuleType:
    """A module of an extra, loaded when a command needs it; without the extra, a message that names the install line."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("comfyone"):
            raise
        raise fail(f"this needs '{error.name}', which is not installed", f"pip install 'comfyone[{extra}]'") from None
