"""What a key and its tenant are granted is asked for at every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.administration.conftest import Operator
from tests.acceptance.conftest import Tenant
from tests.graphs import slow, tiny
from tests.support.v1 import V1, Answer
from tests.support.waiting import eventually

BODY = {"name": "other", "inputs": [], "outputs": ["3"], "workflow": tiny()}


def told_apart(one: Answer, other: Answer, key: str, unknown: str) -> bool:
    """Whether two answers differ in more than the name that was asked for and the request's id."""
    first = str(one.body).replace(one.body["request_id"], "").replace(key, "KEY")
    second = str(other.body).replace(other.body["request_id"], "").replace(unknown, "KEY")
    return (one.status, first) != (other.status, second)


@pytest.fixture
def narrow(shop: Tenant, operator: Operator) -> V1:
    """A key of a shop with three workflows, that may run two of them."""
    for name in ("portrait", "poster", "secret"):
        shop.workflow(tiny(), name=name)
    return operator.issue(shop.name, workflows=["portrait", "poster"])


def test_a_narrowed_key_runs_what_it_names_by_name_or_id(shop: Tenant, narrow: V1) -> None:
    listed = narrow.get("/v1/workflows").data
    assert [workflow["name"] for workflow in listed] == ["portrait", "poster"]
    for key in (listed[0]["id"], "poster"):
        assert narrow.get(f"/v1/workflows/{key}").data
        assert narrow.ended(narrow.submit({"workflow_id": key}))["state"] == "succeeded"


def test_for_a_narrowed_key_another_workflow_looks_like_none(shop: Tenant, narrow: V1) -> None:
    hidden = shop.get("/v1/workflows/secret").data["id"]
    before = shop.everything()
    asks: list[Callable[[str], Answer]] = [
        lambda key: narrow.post("/v1/prompts", {"workflow_id": key}),
        lambda key: narrow.post("/v1/prompts?wait=1", {"workflow_id": key}),
        lambda key: narrow.get(f"/v1/workflows/{key}"),
        lambda key: narrow.get(f"/v1/workflows/{key}?version=1"),
    ]
    for ask in asks:
        for key, unknown in (("secret", "no-one"), (hidden, "0" * len(hidden))):
            answer = ask(key)
            assert answer.fails("not_found")
            assert not told_apart(answer, ask(unknown), key, unknown)
    assert shop.everything() == before


def test_a_narrowed_key_has_no_say_in_what_a_workflow_is(shop: Tenant, narrow: V1) -> None:
    before = shop.everything()
    narrow.post("/v1/prompts_workflow", {"workflow": tiny()}).fails("scope_missing")
    narrow.post("/v1/workflows", BODY).fails("scope_missing")
    narrow.call("PATCH", "/v1/workflows/portrait", json={**BODY, "name": "portrait"}).fails("scope_missing")
    narrow.delete("/v1/workflows/portrait").fails("scope_missing")
    assert shop.everything() == before


def test_a_scope_that_is_withheld_is_lost_by_keys_that_have_it(shop: Tenant, operator: Operator) -> None:
    def raw() -> Answer:
        return shop.post("/v1/prompts_workflow", {"workflow": tiny()})

    assert raw().data
    operator.set(shop.name, withheld=["graphs"])
    eventually(lambda: raw().status == 403)
    assert "'graphs'" in raw().fails("scope_missing")["message"]
    assert shop.workflow(tiny(), name="still"), "the rest is as it was"
    operator.set(shop.name, withheld=["workflows"])
    assert eventually(lambda: shop.post("/v1/workflows", BODY).body.get("error") == "scope_missing")
    assert raw().data
    assert shop.ended(shop.submit({"workflow_id": "still"}))["state"] == "succeeded"


@pytest.mark.parametrize(
    "policy", [{"denied_classes": ["ImageInvert"]}, {"allowed_classes": ["EmptyImage", "SaveImage"]}], ids=str
)
def test_a_class_that_is_not_granted_is_in_no_graph(shop: Tenant, operator: Operator, policy: dict[str, Any]) -> None:
    shop.workflow(tiny(), name="older")
    operator.set(shop.name, **policy)
    before = eventually(lambda: shop.post("/v1/workflows", BODY).status == 403 and shop.everything())
    refusals = [
        shop.post("/v1/workflows", BODY),
        shop.call("PATCH", "/v1/workflows/older", json={**BODY, "name": "older"}),
        shop.post("/v1/prompts_workflow", {"workflow": tiny()}),
        shop.post("/v1/prompts", {"workflow_id": "older"}),
    ]
    for refusal in refusals:
        assert refusal.status == 403
        message = refusal.fails("class_forbidden", "workflow")["message"]
        assert "node '2'" in message
        assert "'ImageInvert'" in message
    assert shop.everything() == before
    operator.set(shop.name, **dict.fromkeys(policy))
    assert eventually(lambda: shop.post("/v1/prompts", {"workflow_id": "older"}).status == 200)


# shared backends


def test_a_shared_backend_is_seen_by_all_and_its_address_by_its_owner(
    acme: Tenant, operator: Operator, shared: dict[str, Any], sandbox: Sandbox
) -> None:
    assert (shared["shared"], shared["url"], shared["instance_id"]) == (True, sandbox.url, "pooled")
    [seen] = acme.get("/v1/backends").data
    assert acme.get("/v1/backends/pooled").data == seen
    assert (seen["name"], seen["shared"], seen["url"], seen["running"]) == ("pooled", True, None, None)
    assert (seen["labels"], seen["state"], seen["is_live"]) == ({"gpu": "big"}, "up", True)
    host = sandbox.url.removeprefix("http://")
    assert host not in str(seen)
    acme.get(f"/v1/backends/{sandbox.url}").fails("not_found")
    [owned] = operator.get("/v1/backends").data
    assert owned["url"] == sandbox.url
    assert acme.post("/v1/prompts_workflow", {"workflow": tiny()}).data, "it counts as a backend"


def test_a_shared_backend_that_is_dead_does_not_tell_where(acme: Tenant, operator: Operator) -> None:
    url = "http://127.0.0.1:9"
    operator.share("lost", url, state="down")
    operator.patch("/admin/v1/backends/lost", {"state": "up"})
    owned = eventually(lambda: (record := operator.get("/admin/v1/backends/lost").data)["reason"] and record)
    assert owned["status"] == "unreachable"
    seen = acme.get("/v1/backends/lost").data
    assert (seen["status"], seen["reason"]) == ("unreachable", "it does not answer")
    assert "127.0.0.1" not in str(seen)


def test_the_history_of_a_shared_backend_does_not_tell_where_it_is(acme: Tenant, operator: Operator) -> None:
    with Sandbox() as flaky:
        operator.share("flaky", flaky.url)
        eventually(lambda: acme.get("/v1/backends/flaky").data["is_live"])
        flaky.stop_listening()
        flaky.drop_sockets()
        eventually(lambda: not acme.get("/v1/backends/flaky").data["is_live"])
        changes = eventually(lambda: (told := acme.get("/v1/backends/flaky/history").data)[1:] and told)
        assert [change["condition"] for change in changes] == ["unreachable", "live"]
        assert [change["reason"] for change in changes] == [None, None]
    operator.call("DELETE", "/admin/v1/backends/flaky")


def test_only_the_operator_changes_a_shared_backend(
    acme: Tenant, operator: Operator, shared: dict[str, Any], gateway: Any
) -> None:
    owner = V1(operator.url, gateway.key("operators"))
    for tenant in (acme, owner):
        for answer in (tenant.patch("/v1/backends/pooled", {"weight": 9}), tenant.delete("/v1/backends/pooled")):
            answer.fails("not_found", "backend")
    assert operator.get("/admin/v1/backends").data == [operator.get("/admin/v1/backends/pooled").data]
    assert operator.get("/admin/v1/backends/pooled").data["weight"] == 1
    changed = operator.patch("/admin/v1/backends/pooled", {"weight": 9, "state": "draining", "labels": {}}).data
    assert (changed["weight"], changed["state"], changed["labels"]) == (9, "draining", {})
    assert acme.get("/v1/backends/pooled").data["status"] == "draining"
    assert operator.delete("/admin/v1/backends/pooled").data is None
    assert acme.get("/v1/backends").data == []
    acme.post("/v1/prompts_workflow", {"workflow": tiny()}).fails("no_backend")
    operator.get("/admin/v1/backends/pooled").fails("not_found")
    owner.close()


def test_a_name_of_ones_own_hides_a_shared_one(
    acme: Tenant, rival: Tenant, shared: dict[str, Any], sandbox: Sandbox
) -> None:
    acme.register("pooled", url=sandbox.url)
    [own] = acme.get("/v1/backends").data
    assert (own["shared"], own["url"]) == (False, sandbox.url)
    assert [backend["shared"] for backend in rival.get("/v1/backends").data] == [True]
    assert acme.patch("/v1/backends/pooled", {"weight": 3}).data["weight"] == 3
    assert acme.delete("/v1/backends/pooled").data is None
    assert [backend["shared"] for backend in acme.get("/v1/backends").data] == [True]


def test_shared_backends_have_names_of_their_own(
    acme: Tenant, operator: Operator, shared: dict[str, Any], sandbox: Sandbox, gateway: Any
) -> None:
    def share(**body: Any) -> Answer:
        return operator.post("/admin/v1/backends", {"url": sandbox.url, **body})

    assert share(name="pooled").data["created_at"] == shared["created_at"], "the same again is no other"
    share(name="pooled", url="http://127.0.0.1:9", state="down").fails("conflict", "name")
    share(name=sandbox.url).fails("invalid_body", "name")
    share(name="").fails("invalid_body", "name")
    share(name="nothing", url="http://127.0.0.1:9").fails("backend_unreachable", "url")
    share(name="wrong", url=operator.url).fails("not_comfyui", "url")
    share(name="other", url="ftp://x").fails("invalid_body", "url")
    share(name="other", wieght=7).fails("invalid_body")
    colleague = V1(operator.url, gateway.key("second-office", scopes=["admin"]))
    colleague.post("/admin/v1/backends", {"name": "pooled", "url": "http://127.0.0.1:9", "state": "down"}).fails(
        "conflict", "name"
    )
    owner = V1(operator.url, gateway.key("operators"))
    owner.post("/v1/backends", {"instance_id": "pooled", "url": sandbox.url}).fails("conflict")
    assert len(operator.get("/admin/v1/backends").data) == 1
    for holder in (colleague, owner):
        holder.close()


def test_a_narrowed_key_reads_no_inputs_of_other_workflows(shop: Tenant, operator: Operator) -> None:
    number = [{"id": "1", "type": "number", "name": "color"}]
    for name in ("open", "secret"):
        shop.workflow(tiny(), number, name=name)
    narrow = operator.issue(shop.name, workflows=["open"])
    values = {"1": {"color": 7}}
    seen, unseen = (
        shop.submit({"workflow_id": name, "inputs": [{"id": "1", "params": {"color": 7}}]})
        for name in ("open", "secret")
    )
    for job in (seen, unseen):
        shop.ended(job)
    for key, foreign in ((shop, values), (narrow, {})):
        listed = {task["id"]: task["payload"] for task in key.raw("GET", "/api/v1/tasks").json()["tasks"]}
        assert listed == {seen: values, unseen: foreign}
        assert key.raw("GET", f"/api/v1/tasks/{unseen}").json()["payload"] == foreign
        assert key.raw("GET", f"/api/v1/tasks/{seen}").json()["payload"] == values
        assert key.status(unseen)["inputs"] == foreign
        assert {job["id"]: job["inputs"] for job in key.get("/v1/prompts/history").data} == listed


def test_a_narrowed_key_is_told_no_classes_of_other_workflows(shop: Tenant, operator: Operator) -> None:
    shop.workflow(slow(steps=400, seconds=0.05), name="secret")
    narrow = operator.issue(shop.name, workflows=["open"])
    job = shop.submit({"workflow_id": "secret"})

    def at_work(key: V1) -> tuple[str, str | None] | None:
        progress = key.raw("GET", f"/api/v2/jobs/{job}").json()["progress"]
        return (progress["current_node"], progress["current_node_class"]) if progress and progress["step"] else None

    assert eventually(lambda: at_work(narrow)) == ("2", None)
    assert at_work(shop) == ("2", "TestSteps")
    assert at_work(narrow) == ("2", None), "whoever asked before"
    shop.delete(f"/v1/prompts/{job}")
