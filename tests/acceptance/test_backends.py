"""Registering, reading, changing and removing backends."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest

from comfyone import ConflictError, InvalidRequestError, NotFoundError
from comfyone.emulator import Sandbox
from tests.acceptance.conftest import Tenant
from tests.graphs import slow, tiny
from tests.support.waiting import eventually


@pytest.mark.seed("S1-12", "S1-13")
def test_a_url_registers_a_server_under_its_host_and_port(acme: Tenant, sandbox: Sandbox) -> None:
    assert acme.sdk.api.get_available_backends().data == []
    record = acme.sdk.api.register_backend(sandbox.url).data
    assert record["name"] == urlsplit(sandbox.url).netloc
    assert record["instance_id"] == record["url"] == sandbox.url
    assert (record["status"], record["is_live"], record["is_down"]) == ("running", True, False)
    assert (record["state"], record["reason"], record["running"], record["weight"]) == ("up", None, 0, 1)
    assert acme.sdk.api.get_available_backends().data == [record]


def test_a_name_with_a_url_beside_it_keeps_weight_and_labels(acme: Tenant, sandbox: Sandbox) -> None:
    record = acme.sdk.api.register_backend("gpu-1", url=sandbox.url + "/", weight=5, labels={"gpu": "a100"}).data
    assert (record["name"], record["instance_id"], record["url"]) == ("gpu-1", "gpu-1", sandbox.url)
    assert (record["weight"], record["labels"]) == (5, {"gpu": "a100"})


def test_a_name_that_the_operator_has_configured_resolves(acme: Tenant, sandbox: Sandbox) -> None:
    record = acme.sdk.api.register_backend("studio").data
    assert (record["name"], record["url"]) == ("studio", sandbox.url)


@pytest.mark.seed("S1-16")
@pytest.mark.parametrize("key", ["name", "instance_id", "url"])
def test_a_backend_is_found_by_name_instance_id_and_url(acme: Tenant, sandbox: Sandbox, key: str) -> None:
    for record in (acme.register("gpu-1", url=sandbox.url), acme.register(sandbox.url)):
        found = acme.sdk.api.get_backend(record[key]).data
        assert found["url"] == sandbox.url
        if key != "url":
            assert found["name"] == record["name"]


def test_a_url_may_stand_in_the_path_unescaped_or_escaped(acme: Tenant, sandbox: Sandbox) -> None:
    record = acme.register(sandbox.url)
    for path in (sandbox.url, quote(sandbox.url, safe="")):
        assert acme.get(f"/v1/backends/{path}").data["name"] == record["name"]


@pytest.mark.seed("S1-17")
def test_registering_twice_answers_with_the_record_that_exists(acme: Tenant, sandbox: Sandbox) -> None:
    first = acme.register("gpu-1", url=sandbox.url)
    second = acme.register("gpu-1", url=sandbox.url)
    assert second["created_at"] == first["created_at"]
    assert len(acme.get("/v1/backends").data) == 1


def test_the_same_name_at_another_url_is_a_conflict(acme: Tenant, sandbox: Sandbox) -> None:
    acme.register("gpu-1", url=sandbox.url)
    with Sandbox() as other, pytest.raises(ConflictError, match="gpu-1"):
        acme.sdk.api.register_backend("gpu-1", url=other.url)
    assert acme.get("/v1/backends/gpu-1").data["url"] == sandbox.url


@pytest.mark.seed("S1-15")
def test_a_backend_goes_down_drains_and_comes_up(acme: Tenant, sandbox: Sandbox) -> None:
    acme.register("gpu-1", url=sandbox.url)
    for state, status, is_down in (("down", "down", True), ("draining", "draining", False), ("up", "running", False)):
        acme.sdk.api.set_backend_state("gpu-1", state)
        record = acme.sdk.api.get_backend("gpu-1").data
        assert (record["state"], record["status"], record["is_down"]) == (state, status, is_down)


@pytest.mark.parametrize("state", ["down", "draining"])
def test_a_backend_that_is_not_up_gets_no_new_jobs(shop: Tenant, state: str) -> None:
    shop.workflow(tiny())
    (name,) = [backend["name"] for backend in shop.get("/v1/backends").data]
    shop.patch(f"/v1/backends/{name}", {"state": state})
    job = shop.submit({"workflow_id": "w"})
    status = shop.status(job, wait=0.5)
    assert (status["state"], status["current"], status["status"]) == ("queued", 0, "pendding")
    shop.patch(f"/v1/backends/{name}", {"state": "up"})
    assert shop.ended(job)["state"] == "succeeded"


def test_a_draining_backend_finishes_what_it_has(shop: Tenant) -> None:
    shop.workflow(slow(steps=60, seconds=0.05))
    job = shop.submit({"workflow_id": "w"})
    eventually(lambda: shop.status(job)["state"] == "running")
    (name,) = [backend["name"] for backend in shop.get("/v1/backends").data]
    record = shop.patch(f"/v1/backends/{name}", {"state": "draining"}).data
    assert record["running"] == 1
    assert shop.ended(job)["state"] == "succeeded"


def test_weight_and_labels_change_without_touching_the_rest(acme: Tenant, sandbox: Sandbox) -> None:
    before = acme.register("gpu-1", url=sandbox.url, labels={"gpu": "a100"})
    after = acme.patch("/v1/backends/gpu-1", {"weight": 5}).data
    assert after == {**before, "weight": 5}
    assert acme.patch("/v1/backends/gpu-1", {"labels": {}}).data == {**after, "labels": {}}


@pytest.mark.seed("S1-14")
def test_a_deleted_backend_is_gone_and_its_job_goes_back_to_the_queue(shop: Tenant, sandbox: Sandbox) -> None:
    shop.workflow(slow(steps=100, seconds=0.1))
    job = shop.submit({"workflow_id": "w"})
    eventually(lambda: shop.status(job)["state"] == "running")
    assert shop.sdk.api.delete_backend(sandbox.url).data is None
    with pytest.raises(NotFoundError):
        shop.sdk.api.get_backend(sandbox.url)
    status = shop.status(job)
    assert (status["state"], status["attempts"]) == ("queued", 1)


def test_a_server_that_is_registered_down_is_not_probed(acme: Tenant) -> None:
    record = acme.register("later", url="http://127.0.0.1:9", state="down")
    assert (record["status"], record["is_live"], record["is_down"]) == ("down", False, True)


def test_a_server_that_stops_is_shown_unreachable_with_the_reason(acme: Tenant) -> None:
    with Sandbox() as sandbox:
        acme.register("gpu-1", url=sandbox.url)
    record = eventually(lambda: next((b for b in acme.get("/v1/backends").data if not b["is_live"]), None))
    assert (record["status"], record["state"], record["is_down"]) == ("unreachable", "up", False)
    assert record["reason"]


@pytest.mark.seed("S1-80")
def test_jobs_spread_over_the_backends_that_are_up(shop: Tenant) -> None:
    shop.workflow(slow(steps=30, seconds=0.05))  # so that none has ended before all are submitted
    with Sandbox() as second:
        shop.register("second", url=second.url)
        jobs = [shop.submit({"workflow_id": "w"}) for _ in range(4)]
        used = {shop.ended(job)["backend"] for job in jobs}
        assert used == {backend["name"] for backend in shop.get("/v1/backends").data}
        assert len(second.records) == 2


@pytest.mark.seed("S1-80", "S1-52")
def test_a_job_that_names_a_backend_runs_there_and_nowhere_else(shop: Tenant) -> None:
    shop.workflow(tiny())
    with Sandbox() as second:
        shop.register("second", url=second.url)
        for key in ("second", second.url):
            jobs = [shop.submit({"workflow_id": "w", "backend": key}) for _ in range(3)]
            assert {shop.ended(job)["backend"] for job in jobs} == {"second"}
        assert len(second.records) == 6


def test_a_state_that_does_not_exist_is_refused_before_anything_is_sent(acme: Tenant, sandbox: Sandbox) -> None:
    acme.register("gpu-1", url=sandbox.url)
    before = acme.get("/v1/backends/gpu-1").data
    body = acme.patch("/v1/backends/gpu-1", {"state": "sideways"}).fails("invalid_body", "state")
    assert "sideways" in body["message"]
    acme.patch("/v1/backends/gpu-1", {"weight": 0}).fails("invalid_body", "weight")
    acme.patch("/v1/backends/gpu-1", {"labels": {"a": 1}}).fails("invalid_body", "labels[...]")
    assert acme.get("/v1/backends/gpu-1").data == before


def test_an_instance_id_that_resolves_to_nothing_is_told_so(acme: Tenant) -> None:
    with pytest.raises(InvalidRequestError, match="nowhere-42") as caught:
        acme.sdk.api.register_backend("nowhere-42")
    assert caught.value.error == "backend_unresolvable"
    assert caught.value.hint
