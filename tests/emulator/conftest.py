"""A sandbox of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfyone.emulator import Sandbox
from tests.conformance.client import ComfyUI


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def comfyui(sandbox: Sandbox) -> ComfyUI:
    """A raw client of the sandbox."""
    return ComfyUI(sandbox.url)
