"""What the backend itself refuses, and what no backend can take: a failed job that says why."""

from __future__ import annotations

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.conftest import Tenant
from tests.graphs import node, tiny
from tests.support.gateway import GatewayProcess
from tests.support.v1 import V1, Answer
from tests.support.waiting import eventually


def run(tenant: V1, graph: object) -> str:
    return tenant.submit({"workflow": graph}, "/v1/prompts_workflow")


def test_a_class_that_the_backend_lacks_fails_the_job_and_is_named(shop: Tenant) -> None:
    status = shop.ended(run(shop, {**tiny(), "2": node("NodeOfTheFuture", image=["1", 0])}))
    assert (status["state"], status["status"]) == ("failed", "failed")
    assert "NodeOfTheFuture" in status["message"]
    # known before it is sent, or learned from the refusal, if the backend has not said yet what it can do
    assert status["attempts"] == {"unable": 0, "rejected": 1}[status["error"]["type"]]


def test_a_value_that_the_backend_refuses_fails_the_job_and_names_the_input(shop: Tenant) -> None:
    graph = tiny()
    graph["1"]["inputs"]["width"] = -5
    status = shop.ended(run(shop, graph))
    assert (status["state"], status["error"]["type"], status["error"]["node_id"]) == ("failed", "rejected", "1")
    assert "width" in status["message"]
    assert status["error"]["node_type"] == "EmptyImage"


def test_a_graph_without_any_output_fails_the_job(shop: Tenant) -> None:
    status = shop.ended(run(shop, {"1": tiny()["1"]}))
    assert (status["state"], status["error"]["type"]) == ("failed", "rejected")
    assert "output" in status["message"]


def test_a_declared_output_that_saves_nothing_fails_the_job(shop: Tenant) -> None:
    shop.workflow(tiny(), outputs=["3", "2"])
    status = shop.ended(shop.submit({"workflow_id": "w"}))
    assert (status["state"], status["error"]["type"]) == ("failed", "output_missing")
    assert "'2'" in status["message"]
    assert "SaveImage" in status["error"]["hint"]


def test_a_missing_value_of_a_node_fails_the_job_and_names_it(shop: Tenant) -> None:
    graph = tiny()
    del graph["1"]["inputs"]["width"]
    status = shop.ended(run(shop, graph))
    assert (status["state"], status["error"]["node_id"]) == ("failed", "1")
    assert "width" in status["message"]


@pytest.mark.seed("S1-85")
def test_without_a_backend_a_submission_is_answered_with_code_2006(acme: Tenant) -> None:
    acme.workflow(tiny())
    for answer in (
        acme.post("/v1/prompts", {"workflow_id": "w"}),
        acme.post("/v1/prompts_workflow", {"workflow": tiny()}),
    ):
        assert (answer.status, answer.body["code"], answer.body["data"]) == (200, 2006, None)
        answer.fails("no_backend")
    response = acme.sdk.api.prompt_workflow(tiny())
    assert (response.code, response.ok) == (2006, False)
    assert acme.everything()["jobs"] == {}


def test_jobs_wait_for_a_backend_that_is_down(shop: Tenant) -> None:
    (backend,) = shop.get("/v1/backends").data
    shop.patch(f"/v1/backends/{backend['name']}", {"state": "down"})
    job = run(shop, tiny())
    assert shop.status(job, wait=0.3)["state"] == "queued"


@pytest.mark.seed("S1-82")
def test_a_job_that_nothing_can_take_fails_in_time_with_the_reason_of_every_backend(limited: Tenant) -> None:
    with Sandbox() as gone:
        limited.register("gone", url=gone.url)
    limited.register("asleep", url="http://127.0.0.1:9", state="down")
    status = limited.ended(run(limited, tiny()))
    assert (status["state"], status["status"], status["attempts"]) == ("failed", "failed", 0)
    assert status["error"]["type"] == "unschedulable"
    for word in ("'gone' is up, ", "'asleep' is down"):
        assert word in status["message"], status["message"]
    assert "live" not in status["message"].partition("'asleep'")[0]
    assert status["error"]["hint"]


@pytest.mark.seed("S1-82")
def test_a_job_for_one_backend_alone_fails_in_time_although_others_are_up(limited: Tenant, sandbox: Sandbox) -> None:
    limited.register(sandbox.url)
    limited.register("asleep", url="http://127.0.0.1:9", state="down")
    job = limited.submit({"workflow": tiny(), "backend": "asleep"}, "/v1/prompts_workflow")
    assert limited.ended(run(limited, tiny()))["state"] == "succeeded"
    assert limited.ended(job)["error"]["type"] == "unschedulable"


# registering what is no backend


def register(tenant: V1, url: str) -> Answer:
    return tenant.post("/v1/backends", {"instance_id": "bad", "url": url})


def test_a_server_that_does_not_answer_is_not_registered(acme: Tenant) -> None:
    with Sandbox() as gone:
        pass
    body = register(acme, gone.url).fails("backend_unreachable", "url")
    assert gone.url in body["message"]
    assert acme.get("/v1/backends").data == []


def test_a_server_that_is_no_comfyui_is_not_registered(acme: Tenant, gateway: GatewayProcess) -> None:
    for url in (gateway.url, gateway.url + "/v1"):
        register(acme, url).fails("not_comfyui", "url")
    assert acme.get("/v1/backends").data == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1",
        "127.0.0.1:8188",
        "http://",
        "http://user:secret@127.0.0.1:8188",
        "http://127.0.0.1:8188/?token=secret",
        "http://127.0.0.1:8188/#part",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://a b",
        "http://a\nb",
        "",
        "file:///etc/passwd",
    ],
)
def test_a_url_that_is_no_address_is_refused_without_repeating_a_secret(acme: Tenant, url: str) -> None:
    body = register(acme, url).fails("invalid_body", "url")
    assert "secret" not in str(body)
    assert acme.get("/v1/backends").data == []


@pytest.mark.parametrize("instance_id", ["", "x" * 201, "a\x00b", "not-configured"])
def test_an_instance_id_that_says_nothing_is_refused(acme: Tenant, instance_id: str) -> None:
    body = acme.post("/v1/backends", {"instance_id": instance_id}).body
    assert body["error"] == ("backend_unresolvable" if instance_id == "not-configured" else "invalid_body")
    assert body["field"] == "instance_id"


def test_a_backend_that_was_refused_can_be_registered_once_it_answers(acme: Tenant) -> None:
    with Sandbox() as sandbox:
        sandbox.stop_listening()
        register(acme, sandbox.url).fails("backend_unreachable")
        sandbox.listen()
        assert register(acme, sandbox.url).data["is_live"]
        eventually(lambda: acme.get("/v1/backends/bad").data["is_live"])
