"""A gateway with an operator: what is shared there is seen by no other test."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from comfyone.gateway.app import database_path
from tests.support.gateway import GatewayProcess
from tests.support.v1 import V1

DAY = "2026-01-{:02}"


class Operator(V1):
    """Who holds a key with the scope ``admin`` and nothing else."""

    def __init__(self, gateway: GatewayProcess) -> None:
        super().__init__(gateway.url, gateway.key("operators", scopes=["admin"]))
        self.state = gateway.state
        self._gateway = gateway

    def set(self, tenant: str, **policy: Any) -> dict[str, Any]:
        """Changes what a tenant is granted."""
        return dict(self.patch(f"/admin/v1/tenants/{tenant}", policy).data)

    def issue(self, tenant: str, **body: Any) -> V1:
        """Somebody who holds a new key of a tenant."""
        made = self.post(f"/admin/v1/tenants/{tenant}/keys", body).data
        self._gateway.issued.append(made["key"])
        return V1(self.url, made["key"])

    def share(self, name: str, url: str, **more: Any) -> dict[str, Any]:
        """Registers a backend for all tenants."""
        return dict(self.post("/admin/v1/backends", {"name": name, "url": url, **more}).data)

    def audit(self, **query: Any) -> list[dict[str, Any]]:
        return list(self.get("/admin/v1/audit", params=query).data)

    def used(self, tenant: str, day: int, workflow: str, backend: str, **sums: Any) -> None:
        """Books usage, as the engine does when a job ends."""
        tenant_id = self.get(f"/admin/v1/tenants/{tenant}").data["id"]
        facts = {"succeeded": 0, "failed": 0, "cancelled": 0, "backend_seconds": 0.0, "output_bytes": 0, **sums}
        row = (tenant_id, DAY.format(day), workflow, backend, *facts.values())
        with closing(sqlite3.connect(database_path(self.state), timeout=10)) as connection, connection:
            connection.execute("INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that logs everything there is to log. No key of any test may be in its log at the end."""
    folder: Path = tmp_path_factory.mktemp("office") / "state"
    with GatewayProcess(folder, "--log-level", "TRACE") as running:
        yield running
        log = running.log()
        assert not [key for key in running.issued if key in log], "a key is in the log"


@pytest.fixture
def operator(gateway: GatewayProcess) -> Iterator[Operator]:
    """Leaves no shared backend behind."""
    holder = Operator(gateway)
    yield holder
    for backend in holder.get("/admin/v1/backends").data:
        holder.delete(f"/admin/v1/backends/{backend['name']}")
    holder.close()


@pytest.fixture
def shared(operator: Operator, sandbox: Sandbox) -> dict[str, Any]:
    """A backend that all tenants may use."""
    return operator.share("pooled", sandbox.url, labels={"gpu": "big"})
