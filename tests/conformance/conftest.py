"""The server under test: the sandbox, or a real ComfyUI.

``COMFYONE_TEST_COMFYUI=1`` fetches and starts a real one, ``COMFYONE_TEST_COMFYUI_URL`` names one that runs (with the
nodes of ``tests/comfyui_nodes``); otherwise it is the sandbox. Where the two differ, the sandbox is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from comfyone.emulator import Sandbox
from scripts import real_comfyui
from tests.conformance.client import ComfyUI


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fetch the real one before any test's time begins to count; it takes minutes when the cache is empty."""
    if items and os.environ.get("COMFYONE_TEST_COMFYUI") and not os.environ.get("COMFYONE_TEST_COMFYUI_URL"):
        real_comfyui.prepare()


@pytest.fixture(scope="session")
def comfyui() -> Iterator[ComfyUI]:
    """A client of the server under test, which nobody else uses."""
    if url := os.environ.get("COMFYONE_TEST_COMFYUI_URL"):
        yield ComfyUI(url.rstrip("/"))
    elif os.environ.get("COMFYONE_TEST_COMFYUI"):
        with real_comfyui.start() as url:
            yield ComfyUI(url)
    else:
        with Sandbox() as sandbox:
            yield ComfyUI(sandbox.url)


@pytest.fixture(autouse=True)
def _at_rest(comfyui: ComfyUI) -> Iterator[None]:
    """Leave nothing behind that waits or runs."""
    yield
    comfyui.settle()
