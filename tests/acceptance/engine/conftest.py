"""Gateways and sandboxes for tests in which things break: no sandbox here is shared."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.engine.lab import Lab
from tests.support.gateway import GatewayProcess

MakeLab = Callable[..., Lab]


def fresh_tenant() -> str:
    return f"lab-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def lab(gateway: GatewayProcess) -> Iterator[MakeLab]:
    """Makes a tenant of the shared gateway with so many sandboxes of its own: ``lab(2, step_time=0.1)``."""
    with ExitStack() as stack:

        def make(count: int = 1, **knobs: Any) -> Lab:
            sandboxes = [stack.enter_context(Sandbox(**knobs)) for _ in range(count)]
            return stack.enter_context(Lab(gateway, fresh_tenant(), *sandboxes))

        yield make


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """Like ``lab``, with a gateway of its own that may be killed: ``own_lab(1, options=["--lost-after", "1"])``."""
    with ExitStack() as stack:

        def make(count: int = 1, options: list[str] | None = None, **knobs: Any) -> Lab:
            sandboxes = [stack.enter_context(Sandbox(**knobs)) for _ in range(count)]
            gateway = stack.enter_context(GatewayProcess(tmp_path / "state", *(options or [])))
            return stack.enter_context(Lab(gateway, "acme", *sandboxes))

        yield make
