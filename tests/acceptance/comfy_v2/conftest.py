"""Tenants of the shared gateway, as clients of Comfy API v2 see it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.comfy_v2.speech import V2
from tests.acceptance.conftest import Tenant
from tests.acceptance.engine.conftest import lab, own_lab
from tests.acceptance.engine.lab import eventually
from tests.graphs import node

__all__ = ["lab", "own_lab"]


@pytest.fixture
def v2(shop: Tenant) -> Iterator[V2]:
    """A new tenant with a backend, whose abilities are known."""
    yield from _known(shop)


@pytest.fixture
def other(rival: Tenant, sandbox: Sandbox) -> Iterator[V2]:
    """Another one."""
    rival.register(sandbox.url)
    yield from _known(rival)


@pytest.fixture
def bare(acme: Tenant) -> Iterator[V2]:
    """A new tenant without a backend."""
    client = V2(acme.url, acme.secret)
    yield client
    client.close()


def _known(tenant: Tenant) -> Iterator[V2]:
    def learned() -> bool:
        body = {"name": "w", "inputs": [], "outputs": ["1"], "workflow": {"1": node("NoSuchNode")}}
        answer = tenant.post("/v1/workflows", body)
        if answer.status == 200:
            tenant.delete("/v1/workflows/w")
        return answer.status != 200

    eventually(learned)
    client = V2(tenant.url, tenant.secret)
    yield client
    client.close()
