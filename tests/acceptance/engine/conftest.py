"""Gateways and sandboxes for tests in which things break: no sandbox here is shared."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.engine.lab import Lab
from tests.support.gateway import GatewayProcess

MakeLab = Callable[..., Lab]
Knobs = Sequence[dict[str, Any]]


def fresh_tenant() -> str:
    return f"lab-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def lab(gateway: GatewayProcess) -> Iterator[MakeLab]:
    """Makes a tenant of the shared gateway with so many sandboxes of its own: ``lab(2, step_time=0.1)``; or with one for each
    set of further knobs: ``lab(each=[{}, {"hang": ["ImageInvert"]}])``."""
    with ExitStack() as stack:

        def make(count: int = 1, each: Knobs = (), **knobs: Any) -> Lab:
            sandboxes = [stack.enter_context(Sandbox(**knobs, **own)) for own in each or [{}] * count]
            return stack.enter_context(Lab(gateway, fresh_tenant(), *sandboxes))

        yield make


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """Like ``lab``, with a gateway of its own that may be killed: ``own_lab(1, options=["--lost-after", "1"])``; or, for what
    has no option, ``own_lab(settings={"max_queued": 5})``."""
    with ExitStack() as stack:

        def make(
            count: int = 1,
            options: Sequence[str] = (),
            settings: Mapping[str, object] = MappingProxyType({}),
            each: Knobs = (),
            **knobs: Any,
        ) -> Lab:
            environment = {f"COMFYONE_{name.upper()}": str(value) for name, value in settings.items()}
            sandboxes = [stack.enter_context(Sandbox(**knobs, **own)) for own in each or [{}] * count]
            gateway = stack.enter_context(GatewayProcess(tmp_path / "state", *options, environment=environment))
            return stack.enter_context(Lab(gateway, "acme", *sandboxes))

        yield make
