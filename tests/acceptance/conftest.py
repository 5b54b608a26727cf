"""One running gateway and one sandbox for the many quick tests; each test is a tenant of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from comfyone import ComfyOne
from comfyone.emulator import Sandbox
from tests.support.gateway import GatewayProcess
from tests.support.v1 import V1


class Tenant(V1):
    """A tenant of the running gateway: its view through raw HTTP, and through the SDK."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.name = f"t-{uuid.uuid4().hex[:12]}"
        super().__init__(gateway.url, gateway.key(self.name))
        assert self.key is not None
        self.secret = self.key
        self.sdk = ComfyOne(self.secret, domain=gateway.url)
        self._gateway = gateway

    def limited(self, *scopes: str) -> V1:
        """The same tenant through a key with these scopes alone."""
        return V1(self.url, self._gateway.key(self.name, scopes=list(scopes)))

    def close(self) -> None:
        """Removes the backends, which stops whatever still runs on them."""
        for backend in self.get("/v1/backends").data:
            self.delete(f"/v1/backends/{backend['name']}")
        self.sdk.close()
        super().close()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[GatewayProcess]:
    """A gateway that logs everything there is to log. No key of any test may be in its log at the end."""
    options = ["--log-level", "TRACE", "--backend", f"studio={sandbox.url}", "--max-upload", "1000000"]
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state", *options) as running:
        yield running
        log = running.log()
        assert not [key for key in running.issued if key in log], "a key is in the log"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """A backend that all tests share: none of them may turn its knobs."""
    with Sandbox() as running:
        yield running


@pytest.fixture
def acme(gateway: GatewayProcess) -> Iterator[Tenant]:
    """A new tenant, without anything."""
    tenant = Tenant(gateway)
    yield tenant
    tenant.close()


@pytest.fixture
def rival(gateway: GatewayProcess) -> Iterator[Tenant]:
    """Another new tenant."""
    tenant = Tenant(gateway)
    yield tenant
    tenant.close()


@pytest.fixture
def shop(acme: Tenant, sandbox: Sandbox) -> Tenant:
    """A new tenant whose backend is the sandbox."""
    acme.register(sandbox.url)
    return acme


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with small limits."""
    options = ["--max-sockets", "2", "--schedule-timeout", "1", "--max-body", "2048"]
    with GatewayProcess(tmp_path_factory.mktemp("strict") / "state", *options) as running:
        yield running


@pytest.fixture
def limited(strict: GatewayProcess) -> Iterator[Tenant]:
    """A new tenant of the gateway with small limits."""
    tenant = Tenant(strict)
    yield tenant
    tenant.close()
