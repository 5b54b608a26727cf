"""A tenant of the running gateway as ComfyUI's clients see it: raw HTTP, no envelope."""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image

from comfyone.emulator import Sandbox
from tests.acceptance.conftest import Tenant
from tests.graphs import Graph
from tests.support.gateway import GatewayProcess
from tests.support.waiting import eventually


class Native:
    """One key's view of its ComfyUI."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.url = tenant.url
        self.key = tenant.secret

    def raw(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.tenant.raw(method, path, **options)

    def get(self, path: str, **query: Any) -> Any:
        """What is there, as JSON."""
        answer = self.raw("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> requests.Response:
        answer = self.raw("POST", path, json=body)
        assert answer.status_code == status, answer.text
        return answer

    def queue(self, graph: Graph, **more: Any) -> str:
        return str(self.post("/prompt", {"prompt": graph, **more}).json()["prompt_id"])

    def refused(self, graph: Any, status: int = 400, **more: Any) -> dict[str, Any]:
        """The answer to a graph that is not taken."""
        body = self.post("/prompt", {"prompt": graph, **more}, status).json()
        assert set(body) == {"error", "node_errors"}
        assert set(body["error"]) == {"type", "message", "details", "extra_info"}
        return dict(body)

    def entry(self, prompt_id: str) -> dict[str, Any]:
        """The history entry of a prompt, once it has one."""
        found = eventually(lambda: self.get(f"/history/{prompt_id}"))
        assert set(found) == {prompt_id}
        return dict(found[prompt_id])

    def run(self, graph: Graph, **more: Any) -> dict[str, Any]:
        return self.entry(self.queue(graph, **more))

    def view(self, file: dict[str, Any], **query: Any) -> requests.Response:
        return self.raw("GET", "/view", params={**file, **query})

    def upload(self, name: str, content: bytes, path: str = "/upload/image", **fields: str) -> requests.Response:
        return self.raw("POST", path, files={"image": (name, content)}, data=fields)

    def begun(self, prompt_id: str) -> None:
        """Returns when a prompt runs."""
        eventually(lambda: prompt_id in [entry[1] for entry in self.get("/queue")["queue_running"]])


def picture(color: tuple[int, ...] = (10, 20, 30), size: tuple[int, int] = (8, 8)) -> bytes:
    """A PNG of one colour; four numbers make one with alpha."""
    buffer = BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def pixel(content: bytes) -> Any:
    with Image.open(BytesIO(content)) as image:
        return image.getpixel((0, 0))


@pytest.fixture
def comfyui(shop: Tenant) -> Native:
    """A tenant with the sandbox as its only backend."""
    return ready(shop)


@pytest.fixture
def other(rival: Tenant, sandbox: Sandbox) -> Native:
    """Another tenant, with the same sandbox."""
    rival.register(sandbox.url)
    return ready(rival)


@pytest.fixture
def lone(gateway: GatewayProcess) -> Iterator[tuple[Native, Sandbox]]:
    """A tenant with a sandbox for itself, whose knobs may be turned."""
    tenant = Tenant(gateway)
    with Sandbox() as sandbox:
        tenant.register(sandbox.url)
        yield ready(tenant), sandbox
        tenant.close()


def ready(tenant: Tenant) -> Native:
    """Once it is known what the backend has."""
    native = Native(tenant)
    deadline = time.monotonic() + 10
    while not native.get("/object_info"):
        assert time.monotonic() < deadline, "no backend said what it has"
        time.sleep(0.02)
    return native
