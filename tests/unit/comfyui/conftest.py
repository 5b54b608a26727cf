"""A sandbox for each test, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from comfyone.comfyui import AsyncComfyUIClient, ComfyUIClient, Terms
from comfyone.emulator import Sandbox
from comfyone.transport.retry import RetryPolicy
from tests.unit.sdk.conftest import serve, server

__all__ = ["FAST", "QUICK", "serve", "server"]

FAST = RetryPolicy(attempts=3, base=0.01, cap=0.05)
QUICK = Terms(interval=0.05, silence=0.5, grace=0.2, patience=0.4, outage=1.0)
"""As patient as tests can afford."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[ComfyUIClient]:
    with ComfyUIClient(url=sandbox.url, policy=FAST, reconnect_delay=0.05) as client:
        yield client


@pytest.fixture
async def aclient(sandbox: Sandbox) -> AsyncIterator[AsyncComfyUIClient]:
    async with AsyncComfyUIClient(url=sandbox.url, policy=FAST, reconnect_delay=0.05) as client:
        yield client
