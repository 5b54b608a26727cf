"""Image inputs given as URLs: fetched through the guard when the job is submitted, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from comfyone.gateway.app import database_path
from comfyone.gateway.storage.sqlite import connect
from tests.acceptance.conftest import Tenant
from tests.graphs import invert_upload
from tests.support.gateway import GatewayProcess
from tests.support.pictures import opened, png
from tests.support.receiver import Receiver, Reply

OPEN = ["--allow-private", "127.0.0.0/8", "--max-upload", "100000", "--log-level", "TRACE"]
IMAGE = {"id": "1", "type": "image", "name": "image", "title": "picture"}
GRAPH = {**invert_upload("any.png"), "4": {"class_type": "LoadImage", "inputs": {"image": "any.png"}}}
SECOND = {"id": "4", "type": "image", "name": "image", "title": "second", "required": False}
FILES = {
    "/photo.png": Reply(200, png((200, 100, 50))),
    "/photo.jpg?secret=very": Reply(200, png((10, 20, 30))),
    "/moved": Reply(301, headers={"Location": "/photo.png"}),
    "/inside": Reply(302, headers={"Location": "http://169.254.169.254/latest/meta-data/"}),
    "/around": Reply(302, headers={"Location": "/around"}),
    "/page": Reply(200, b"<html>", {"Content-Type": "image/png"}),
    "/empty": Reply(200),
    "/large": Reply(200, png() + b"x" * 100_000),
    "/missing": Reply(404),
    "/short": Reply(200, png(), {"Content-Length": "100000", "Connection": "close"}),
}


@pytest.fixture(scope="module")
def fetching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that may call the loopback."""
    with GatewayProcess(tmp_path_factory.mktemp("fetching") / "state", *OPEN) as running:
        yield running


@pytest.fixture
def own(fetching: GatewayProcess, sandbox: Sandbox) -> Iterator[Tenant]:
    tenant = Tenant(fetching)
    tenant.register(sandbox.url)
    tenant.workflow(GRAPH, [IMAGE, SECOND])
    yield tenant
    tenant.close()


@pytest.fixture
def server() -> Iterator[Receiver]:
    with Receiver(FILES) as running:
        yield running


def submitted(tenant: Tenant, inputs: Any, **options: Any) -> str:
    return tenant.submit({"workflow_id": "w", "inputs": inputs}, **options)


def color_of(tenant: Tenant, job: str) -> Any:
    status = tenant.ended(job)
    assert status["state"] == "succeeded", status
    return opened(tenant.raw("GET", status["images"][0]).content).getpixel((10, 10))


@pytest.mark.parametrize("by_node", [False, True])
@pytest.mark.parametrize(
    ("path", "color", "name"),
    [
        ("/photo.png", (55, 155, 205), "photo.png"),
        ("/moved", (55, 155, 205), "moved.png"),
        ("/photo.jpg?secret=very", (245, 235, 225), "photo.png"),
    ],
)
def test_a_url_is_fetched_and_is_a_file_from_then_on(
    own: Tenant, server: Receiver, path: str, color: tuple[int, int, int], name: str, by_node: bool
) -> None:
    url = server.url + path
    job = submitted(own, [{"id": "1", "params": {"image": url}}] if by_node else {"picture": url})
    assert color_of(own, job) == color
    kept = own.status(job)["inputs"]["1"]["image"]
    assert kept.endswith(f"/{name}")
    assert opened(own.raw("GET", f"/v1/files/{kept}").content).size == (16, 16)
    assert server.got[0].headers["user-agent"].startswith("comfyone/")
    assert "very" not in str(own.status(job))


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        ("/inside", "address_refused"),
        ("/around", "fetch_failed"),
        ("/missing", "fetch_failed"),
        ("/short", "fetch_failed"),
        ("/page", "invalid_input"),
        ("/empty", "invalid_input"),
        ("/large", "too_large"),
    ],
)
def test_what_cannot_be_had_is_told_by_the_input_and_leaves_nothing(
    own: Tenant, server: Receiver, path: str, slug: str
) -> None:
    body = {"workflow_id": "w", "inputs": {"picture": f"{server.url}/photo.png", "second": server.url + path}}
    told = own.post("/v1/prompts", body).fails(slug, "image")
    assert "input 'image' of node '4'" in told["message"], "it says which of the two"
    assert own.everything()["jobs"] == {}
    assert files_of(own) == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/a.png",
        "http://169.254.169.254/a.png",
        "http://[::1]/a.png",
        "http://2130706433/a.png",
        "HTTP://localhost@10.0.0.1/a.png",
        "https://user:very-secret@example.com/a.png",
        "http://no.such.host.invalid/a.png",
    ],
)
def test_an_address_that_is_not_to_be_called_is_refused(own: Tenant, url: str) -> None:
    told = own.post("/v1/prompts", {"workflow_id": "w", "inputs": {"picture": url}})
    assert told.body["error"] in ("address_refused", "fetch_failed")
    assert told.body["field"] == "image"
    assert "very-secret" not in str(told.body)
    assert own.everything()["jobs"] == {}


def test_without_leave_of_the_operator_nothing_here_is_fetched(shop: Tenant, server: Receiver) -> None:
    shop.workflow(GRAPH, [IMAGE])
    for host in ("127.0.0.1", "localhost", "[::1]"):
        url = f"http://{host}:{server.server_port}/photo.png"
        shop.post("/v1/prompts", {"workflow_id": "w", "inputs": {"picture": url}}).fails("address_refused", "image")
    assert server.got == []


def test_a_repeat_under_the_same_key_fetches_nothing_again(own: Tenant, server: Receiver) -> None:
    key = {"headers": {"Idempotency-Key": "once"}}
    inputs = {"picture": f"{server.url}/photo.png"}
    job = submitted(own, inputs, **key)
    server.files.clear()
    assert submitted(own, inputs, **key) == job
    assert len(server.got) == 1
    body = {"workflow_id": "w", "inputs": {"picture": f"{server.url}/other.png"}}
    own.post("/v1/prompts", body, **key).fails("idempotency_mismatch")
    assert len(server.got) == 1


def test_only_declared_images_are_fetched(own: Tenant, server: Receiver) -> None:
    url = f"{server.url}/photo.png"
    graph = invert_upload("any.png")
    own.workflow(graph, [{"id": "3", "type": "string", "name": "filename_prefix"}], name="texts")
    job = own.submit({"workflow_id": "texts", "inputs": {"filename_prefix": url}})
    own.submit({"workflow": invert_upload(url), "outputs": ["3"]}, "/v1/prompts_workflow")
    assert own.status(job)["inputs"]["3"]["filename_prefix"] == url
    assert server.got == []


def files_of(tenant: Tenant) -> int:
    """How many files the tenant has, as its gateway's own state says."""
    with closing(connect(database_path(tenant._gateway.state), read_only=True)) as connection:
        statement = "SELECT COUNT(*) FROM assets a JOIN tenants t ON t.id = a.tenant_id WHERE t.name = ?"
        (count,) = connection.execute(statement, (tenant.name,)).fetchone()
        return int(count)
