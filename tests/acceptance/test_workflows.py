"""Storing, reading, versioning and deleting workflows."""

from __future__ import annotations

from typing import Any

import pytest

from comfyone import (
    ConflictError,
    IOType,
    NotFoundError,
    PromptPayload,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)
from tests.acceptance.conftest import Tenant
from tests.graphs import slow, tiny
from tests.support.waiting import eventually


def payload(name: str = "flat", color: int = 0x336699, **more: Any) -> WorkflowPayload:
    return WorkflowPayload(
        name=name,
        inputs=WorkflowInputPayload(inputs=[WorkflowInput(id="1", type=IOType.NUMBER, name="color", **more)]),
        outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id="3")]),
        workflow=tiny(color=color),
    )


@pytest.mark.seed("S1-18", "S1-19", "S1-20", "S1-50")
def test_what_is_stored_is_what_is_read(acme: Tenant) -> None:
    created = acme.sdk.api.create_workflow(payload(minimum=0, maximum=0xFFFFFF, title="colour"))
    assert created.code == 0
    record = acme.sdk.api.get_workflow(created.data["id"]).data
    assert record == created.data
    assert record["workflow"] == tiny()
    assert record["outputs"] == ["3"]
    assert record["inputs"] == [
        {"id": "1", "type": "number", "name": "color", "minimum": 0, "maximum": 0xFFFFFF, "title": "colour"}
    ]
    assert (record["name"], record["version"]) == ("flat", 1)
    assert acme.sdk.api.get_workflow("flat").data == record
    (listed,) = acme.sdk.api.get_workflows().data
    assert listed == {key: value for key, value in record.items() if key != "workflow"}


@pytest.mark.seed("S1-21")
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_an_update_is_the_next_version_and_the_old_one_stays_readable(acme: Tenant, method: str) -> None:
    first = acme.sdk.api.create_workflow(payload()).data
    body = payload(color=1).to_dict()
    second = acme.call(method, f"/v1/workflows/{first['id']}", json=body).data
    assert (second["id"], second["version"], second["created_at"]) == (first["id"], 2, first["created_at"])
    assert acme.get("/v1/workflows/flat").data["workflow"] == tiny(color=1)
    assert acme.get("/v1/workflows/flat", params={"version": 1}).data["workflow"] == tiny()
    acme.get("/v1/workflows/flat", params={"version": 3}).fails("not_found")
    acme.get("/v1/workflows/flat", params={"version": "one"}).fails("invalid_body", "version")


@pytest.mark.seed("S1-21")
def test_the_sdk_updates_a_workflow_with_a_model(shop: Tenant) -> None:
    workflow = shop.sdk.api.create_workflow(payload()).data["id"]
    shop.sdk.api.update_workflow(workflow, payload(name="renamed", color=0x000001))
    image = shop.sdk.run("renamed", timeout=15).images[0]
    assert image.getpixel((0, 0)) == (255, 255, 254)
    with pytest.raises(NotFoundError):
        shop.sdk.api.get_workflow("flat")


def test_a_job_runs_the_version_of_its_time(shop: Tenant) -> None:
    shop.sdk.api.create_workflow(payload(name="w"))
    blocker = shop.submit({"workflow": slow(steps=10, seconds=0.05)}, "/v1/prompts_workflow")
    job = shop.submit({"workflow_id": "w"})
    shop.sdk.api.update_workflow("w", payload(name="w", color=0))
    status = shop.ended(job)
    assert status["version"] == 1
    assert shop.sdk.job(job).result().images[0].getpixel((0, 0)) == (0xCC, 0x99, 0x66)
    assert shop.ended(blocker)["state"] == "succeeded"


@pytest.mark.seed("S1-22")
def test_a_deleted_workflow_is_gone_but_its_jobs_still_run(shop: Tenant) -> None:
    shop.workflow(slow(steps=6, seconds=0.05))
    jobs = [shop.submit({"workflow_id": "w"}) for _ in range(4)]
    eventually(lambda: shop.status(jobs[0])["state"] != "queued")
    shop.sdk.api.delete_workflow("w")
    with pytest.raises(NotFoundError):
        shop.sdk.api.get_workflow("w")
    assert shop.get("/v1/workflows").data == []
    with pytest.raises(NotFoundError):
        shop.sdk.api.prompt(PromptPayload(workflow_id="w", inputs=[]))
    assert [shop.ended(job)["state"] for job in jobs] == ["succeeded"] * 4


def test_a_name_is_free_again_once_its_workflow_is_deleted(acme: Tenant) -> None:
    first = acme.workflow(tiny())
    acme.delete("/v1/workflows/w")
    assert acme.workflow(tiny())["id"] != first["id"]


def test_two_workflows_may_not_share_a_name(acme: Tenant) -> None:
    acme.sdk.api.create_workflow(payload("one"))
    acme.sdk.api.create_workflow(payload("two"))
    with pytest.raises(ConflictError, match="one"):
        acme.sdk.api.create_workflow(payload("one"))
    with pytest.raises(ConflictError, match="one"):
        acme.sdk.api.update_workflow("two", payload("one"))
    assert [record["version"] for record in acme.get("/v1/workflows").data] == [1, 1]


def test_two_tenants_may_share_a_name(acme: Tenant, rival: Tenant) -> None:
    mine, theirs = acme.workflow(tiny(), name="same"), rival.workflow(tiny(color=0), name="same")
    assert mine["id"] != theirs["id"]
    assert acme.get("/v1/workflows/same").data["id"] == mine["id"]


def test_outputs_may_be_objects_and_the_name_loses_surrounding_space(acme: Tenant) -> None:
    body = {"name": "  tidy ", "inputs": [], "outputs": [{"id": "3", "type": "image"}], "workflow": tiny()}
    record = acme.post("/v1/workflows", body).data
    assert (record["name"], record["outputs"]) == ("tidy", ["3"])


def test_without_a_live_backend_any_node_class_may_be_stored(acme: Tenant) -> None:
    graph = {**tiny(), "4": {"class_type": "NodeOfTheFuture", "inputs": {}}}
    assert acme.workflow(graph)["workflow"] == graph
