"""The command ``comfyone``."""

from __future__ import annotations

from comfyone.cli.main import main

__all__ = ["main"]
