"""A gateway before the server under test, and the clients of others as their registries have them.

They are fetched only where the real ComfyUI is (``make test-comfyui``): together they are some hundred megabytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from comfyone import ComfyOne
from scripts import foreign_clients
from tests.conformance.client import ComfyUI
from tests.support.gateway import GatewayProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fetch them before any test's time begins to count."""
    if any(item.path.parent.name == "clients" for item in items) and os.environ.get("COMFYONE_TEST_COMFYUI"):
        fetched()


@cache
def fetched() -> foreign_clients.Clients | str:
    """The clients, or why they could not be fetched: a registry that can't be reached is no fault of ours."""
    try:
        return foreign_clients.prepare()
    except foreign_clients.ForeignClientError as error:
        return str(error)


@pytest.fixture(scope="session")
def clients() -> foreign_clients.Clients:
    if not os.environ.get("COMFYONE_TEST_COMFYUI"):
        pytest.skip("the clients of others are fetched by 'make test-comfyui' alone")
    if isinstance(found := fetched(), str):
        pytest.skip(f"the clients of others could not be fetched: {found}")
    return found


@dataclass(frozen=True)
class Team:
    """A tenant of the gateway, with a backend of its own."""

    url: str
    key: str

    @property
    def keyed(self) -> str:
        """The gateway's address with the key in its path."""
        return f"{self.url}/k/{self.key}"

    @property
    def signed(self) -> str:
        """The gateway's address with the key as a password."""
        return self.url.replace("://", f"://anyone:{self.key}@")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("clients") / "state", "--open-tenant", "home") as running:
        yield running


def team(gateway: GatewayProcess, name: str, comfyui: ComfyUI) -> Team:
    key = gateway.key(name)
    with ComfyOne(key, domain=gateway.url) as client:
        client.api.register_backend("server", url=comfyui.url).raise_for_code()
    return Team(gateway.url, key)


@pytest.fixture(scope="session")
def acme(gateway: GatewayProcess, comfyui: ComfyUI) -> Team:
    return team(gateway, "acme", comfyui)


@pytest.fixture(scope="session")
def rival(gateway: GatewayProcess, comfyui: ComfyUI) -> Team:
    return team(gateway, "rival", comfyui)


@pytest.fixture(scope="session")
def home(gateway: GatewayProcess, comfyui: ComfyUI) -> Team:
    """The tenant of whoever sends no key."""
    return team(gateway, "home", comfyui)
