"""A gateway, a sandbox and a key for the commands that speak to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from tests.support.command import Done, comfyone
from tests.support.gateway import GatewayProcess

Run = Callable[..., Done]


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state") as running:
        yield running


@pytest.fixture
def run(gateway: GatewayProcess, request: pytest.FixtureRequest) -> Run:
    """Runs a command against the gateway, as a tenant of this test."""
    environment = {"COMFYONE_DOMAIN": gateway.url, "COMFYONE_API_KEY": gateway.key(f"t{abs(hash(request.node.name))}")}

    def run(*arguments: Any) -> Done:
        return comfyone(*arguments, environment=environment)

    return run


@pytest.fixture
def admin(tmp_path: Path) -> Run:
    """Runs a command on a state folder of its own, beside no gateway."""
    environment = {"COMFYONE_STATE_DIR": str(tmp_path / "state")}

    def run(*arguments: Any) -> Done:
        return comfyone(*arguments, environment=environment)

    return run
