"""Somebody else's id and an unknown id look exactly the same, on every route that takes one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from comfyone.gateway.dialects.admin_v1.routes import ADMIN_ROUTES
from comfyone.gateway.dialects.comfyone_v1.routes import ROUTES
from comfyone.gateway.dialects.routing import Route
from comfyone.gateway.domain.tenants import Scope
from tests.acceptance.conftest import Tenant
from tests.graphs import invert_upload, slow, tiny
from tests.support.pictures import png
from tests.support.sockets import Ears
from tests.support.v1 import V1, Answer
from tests.support.waiting import eventually

WORKFLOW = {"name": "mine", "inputs": [], "outputs": ["3"], "workflow": tiny()}
BODIES = {
    "/v1/workflows": WORKFLOW,
    "/v1/backends": {"state": "down"},
    "/v1/prompts": {"priority": 1},
    "/v1/files": None,
    "/v1/webhooks": {"enabled": False},
}
OPERATIONS = sorted(
    {(method, path) for route in ROUTES for method, path in ((route.method, route.path), *route.aliases) if "{" in path}
)
UNKNOWN = "01a200a3-0000-7df5-84e2-7ffc46735000"


def noun(path: str) -> str:
    return "/".join(path.split("/")[:3])


def blurred(answer: Answer, key: str) -> str:
    """An answer without the id that was asked for and the request's own."""
    text = json.dumps(answer.body, sort_keys=True)
    return text.replace(answer.body.get("request_id", "-"), "REQUEST").replace(key, "KEY")


def ask(tenant: Tenant, method: str, path: str, key: str) -> Answer:
    for parameter in ("{id}", "{name:path}"):
        path = path.replace(parameter, key)
    body = BODIES[noun(path)] if method in ("PATCH", "PUT") else None
    path = path.replace("{name}", "photo.png").replace("{delivery}", UNKNOWN)
    return tenant.call(method, path, json=body)


@pytest.fixture
def theirs(rival: Tenant, sandbox: Sandbox) -> dict[str, list[str]]:
    """What the rival has, by noun, under every key that finds it."""
    backend = rival.register("their-gpu", url=sandbox.url)
    workflow = rival.workflow(slow(steps=100, seconds=0.05), name="their-workflow")
    asset = rival.upload("photo.png", png()).data
    webhook = rival.post("/v1/webhooks", {"url": "https://8.8.8.8/"}).data
    rival.patch(f"/v1/webhooks/{webhook['id']}", {"enabled": False})  # nothing is to be sent there
    job = rival.submit({"workflow_id": "their-workflow"})
    eventually(lambda: rival.status(job)["state"] == "running")
    return {
        "/v1/webhooks": [webhook["id"]],
        "/v1/backends": [backend["name"], backend["url"]],
        "/v1/workflows": [workflow["id"], workflow["name"]],
        "/v1/files": [asset["id"]],
        "/v1/prompts": [job],
        "path": [asset["Path"]],
    }


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_belongs_to_another_looks_like_what_does_not_exist(
    acme: Tenant, rival: Tenant, theirs: dict[str, list[str]], method: str, path: str
) -> None:
    before = rival.everything()
    for key in theirs[noun(path)]:
        unknown = UNKNOWN if len(key) == len(UNKNOWN) else "x" * len(key)
        foreign, absent = ask(acme, method, path, key), ask(acme, method, path, unknown)
        assert foreign.status == absent.status == 404
        assert blurred(foreign, key) == blurred(absent, unknown)
        assert foreign.headers.keys() == absent.headers.keys()
        own = (
            ask(rival, method, path, key)
            if method == "GET" and not path.endswith(("events", "files/{id}", "{name}"))
            else None
        )
        assert own is None or own.status == 200, "the owner finds it under this key"
    assert rival.everything() == before


def test_the_operations_cover_every_noun() -> None:
    assert {noun(path) for _, path in OPERATIONS} == set(BODIES)
    assert len(OPERATIONS) >= 15


def test_ids_inside_a_submission_are_no_window_either(shop: Tenant, theirs: dict[str, list[str]]) -> None:
    shop.workflow(invert_upload("any.png"), [{"id": "1", "type": "image", "name": "image"}], name="mine")
    image = shop.upload("own.png", png((1, 2, 3))).data["Path"]
    good = {"workflow_id": "mine", "inputs": {"image": image}}

    def submit(**change: Any) -> Answer:
        return shop.post("/v1/prompts", {**good, **change})

    for key in theirs["/v1/workflows"]:
        foreign, absent = submit(workflow_id=key), submit(workflow_id=UNKNOWN)
        assert foreign.status == 404
        assert blurred(foreign, key) == blurred(absent, UNKNOWN)
    for key in theirs["/v1/backends"][:1]:  # the url is one that both have registered
        foreign, absent = submit(backend=key), submit(backend="no-such")
        assert foreign.status == 404
        assert blurred(foreign, key) == blurred(absent, "no-such")
    (path,) = theirs["path"]
    absent_path = f"{UNKNOWN}/photo.png"
    foreign, absent = submit(inputs={"image": path}), submit(inputs={"image": absent_path})
    assert foreign.fails("asset_unknown", "image")
    assert blurred(foreign, path) == blurred(absent, absent_path)
    assert shop.everything()["jobs"] == {}


def test_a_graph_cannot_reach_a_file_of_another_tenant(shop: Tenant, theirs: dict[str, list[str]]) -> None:
    (path,) = theirs["path"]
    absent_path = f"{UNKNOWN}/photo.png"
    foreign, absent = (
        shop.post("/v1/prompts_workflow", {"workflow": invert_upload(named)}) for named in (path, absent_path)
    )
    assert foreign.fails("asset_unknown")
    assert blurred(foreign, path.partition("/")[0]) == blurred(absent, UNKNOWN)
    assert shop.everything()["jobs"] == {}


def test_lists_show_ones_own_things_alone(acme: Tenant, theirs: dict[str, list[str]]) -> None:
    assert acme.everything() == {"backends": [], "workflows": [], "jobs": {}}
    with Ears(acme.url, acme.secret) as ears:
        ears.say({"type": "sync"})
        assert ears.hear()["data"]["error"] == "invalid_body", "and the socket is silent about the others' jobs"


# the operator's door


@pytest.mark.parametrize("route", ADMIN_ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_an_operators_route_opens_to_no_tenant(acme: Tenant, route: Route) -> None:
    """Nor does it tell whether there is such a thing, or what is wrong with a body."""
    before = acme.everything()
    for key in (acme.name, "no-such"):
        path = re.sub(r"{\w+(:path)?}", key, route.path)
        assert "'admin'" in acme.call(route.method, path, data=b"{broken").fails("scope_missing")["message"]
        V1(acme.url, None).call(route.method, path).fails("missing_key")
        V1(acme.url, "co_wrong").call(route.method, path).fails("invalid_key")
    assert acme.everything() == before


def test_every_route_beside_the_tenants_own_is_the_operators(acme: Tenant) -> None:
    served = acme.raw("GET", "/openapi.json").json()["paths"]
    described = {(method.upper(), path) for path in served for method in served[path] if path.startswith("/admin/")}
    assert described == {(route.method, re.sub(r":\w+}", "}", route.path)) for route in ADMIN_ROUTES}
    assert {route.scope for route in ADMIN_ROUTES} == {Scope.ADMIN}
    assert len(described) >= 15
