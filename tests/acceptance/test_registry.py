"""The registry: backends by app, chosen by policy, in the vocabulary of the scheduler that came with the first SDK."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from comfyone.gateway.dialects.roster import DIALECTS
from comfyone.gateway.domain.apps import RESERVED
from tests.acceptance.conftest import Tenant
from tests.graphs import tiny
from tests.support.gateway import GatewayProcess
from tests.support.registry import Registry, envelope
from tests.support.v1 import V1

NOWHERE = "http://127.0.0.1:9"
"""Where nothing answers: a backend that is registered as down is not asked."""


@pytest.fixture
def registry(acme: Tenant) -> Registry:
    return Registry(acme)


def three(registry: Registry, sandbox: Sandbox, app: str = "txt2img", weights: tuple[int, ...] = (1, 3, 2)) -> None:
    """Three active backends of an app: a, b and c."""
    for name, weight in zip("abc", weights, strict=True):
        registry.add(app, name, weight=weight, url=sandbox.url)


@pytest.mark.seed("S1-60", "S1-62", "S1-74")
def test_the_first_backend_of_an_app_comes_with_its_policy(registry: Registry, sandbox: Sandbox) -> None:
    body = {"app_id": "txt2img", "instance_id": sandbox.url, "weight": 2, "state": "active"}
    answer = registry.call("POST", "/v1/backends", body)
    assert answer["msg"] == "Backend added successfully"
    assert answer["data"]["policy"] == {"policy_type": "round_robin", "limit": 1}
    backend = answer["data"]["backend"]
    assert backend.pop("id").count("-") == 4
    assert backend == {"app_id": "txt2img", "instance_id": sandbox.url, "weight": 2, "state": "active"}
    assert registry.data("GET", "/v1/txt2img/policy") == {"policy_type": "round_robin", "limit": 1}


@pytest.mark.seed("S1-62")
def test_the_documented_form_names_the_app_in_the_path(registry: Registry, sandbox: Sandbox) -> None:
    added = registry.data("POST", "/v1/upscale/backends", {"instance_id": sandbox.url})
    assert added["backend"]["app_id"] == "upscale"
    assert (added["backend"]["weight"], added["backend"]["state"]) == (1, "active"), "unless they say otherwise"


def test_an_instance_may_be_a_name_that_the_operator_has_given(registry: Registry, acme: Tenant) -> None:
    registry.add("txt2img", "studio")
    assert acme.get("/v1/backends/studio").data["is_live"]
    answer = registry.refused("POST", "/v1/backends", {"app_id": "txt2img", "instance_id": "nobody-knows"})
    assert answer["error"] == "backend_unresolvable"


def test_without_an_app_it_is_the_other_registration(acme: Tenant, sandbox: Sandbox) -> None:
    record = acme.post("/v1/backends", {"instance_id": sandbox.url}).data
    assert record["labels"] == {}
    assert acme.post("/v1/backends", {"weight": 1}).fails("invalid_body", "instance_id"), "in its own envelope"
    assert acme.call("POST", "/v1/backends", data=b"{broken").fails("invalid_json")


@pytest.mark.seed("S1-63", "S1-64")
def test_lists_show_the_backends_of_all_apps_or_of_one(registry: Registry, acme: Tenant, sandbox: Sandbox) -> None:
    registry.add("txt2img", "a", url=sandbox.url)
    registry.add("img2img", "b", url=NOWHERE, state="down")
    acme.register("no-app", url=sandbox.url)
    records = registry.data("GET", "/v1/backends/all")
    assert [(one["app_id"], one["instance_id"], one["state"]) for one in records] == [
        ("txt2img", "a", "active"),
        ("img2img", "b", "down"),
    ]
    assert registry.data("GET", "/v1/img2img/backends/all") == [records[1]]
    assert registry.refused("GET", "/v1/nothing/backends/all")["msg"] == "No backends found for app_id=nothing"
    assert len(acme.get("/v1/backends").data) == 3, "the other vocabulary sees them all"


@pytest.mark.seed("S1-65", "S1-61", "S1-80")
def test_round_robin_takes_turns_and_wraps(registry: Registry, sandbox: Sandbox) -> None:
    three(registry, sandbox)
    assert [registry.chosen("txt2img") for _ in range(4)] == [["a"], ["b"], ["c"], ["a"]]
    registry.data("PATCH", "/v1/txt2img/policy", {"policy_type": "round_robin", "limit": 2})
    assert [registry.chosen("txt2img") for _ in range(3)] == [["b", "c"], ["a", "b"], ["c", "a"]]
    registry.data("PATCH", "/v1/txt2img/backends/b?state=down")
    assert Counter(name for _ in range(2) for name in registry.chosen("txt2img")) == {"a": 2, "c": 2}
    registry.data("PATCH", "/v1/txt2img/policy", {"policy_type": "round_robin", "limit": 9})
    assert sorted(registry.chosen("txt2img")) == ["a", "c"], "never one of them twice"


@pytest.mark.seed("S1-61", "S1-71", "S1-72")
def test_each_policy_chooses_in_its_way(registry: Registry, sandbox: Sandbox) -> None:
    three(registry, sandbox)

    def choose(**policy: Any) -> list[str]:
        registry.data("PATCH", "/v1/txt2img/policy", policy)
        assert registry.data("GET", "/v1/txt2img/policy")["policy_type"] == policy["policy_type"]
        return registry.chosen("txt2img")

    assert choose(policy_type="weighted") == ["b"], "the heaviest, and one unless it says otherwise"
    assert choose(policy_type="weighted", limit=2) == ["b", "c"]
    assert choose(policy_type="all_active") == ["a", "b", "c"], "all, unless it says otherwise"
    assert choose(policy_type="all_active", limit=2) == ["a", "b"]
    assert choose(policy_type="random", limit=5) != [], "and no more than there are"
    assert {name for _ in range(60) for name in choose(policy_type="random")} == {"a", "b", "c"}
    registry.data("PATCH", "/v1/txt2img/backends/b?state=down")
    assert choose(policy_type="weighted") == ["c"], "what is down is never chosen"
    for name in "ac":
        registry.data("PATCH", f"/v1/txt2img/backends/{name}?state=down")
    assert registry.refused("GET", "/v1/txt2img/backends")["error"] == "not_found"


@pytest.mark.seed("S1-65")
def test_the_caller_may_ask_for_another_way_to_choose(registry: Registry, sandbox: Sandbox) -> None:
    three(registry, sandbox)
    assert registry.chosen("txt2img", policy="weighted") == ["b"]
    answer = registry.refused("GET", "/v1/txt2img/backends?policy=best")
    assert "weighted" in answer["msg"]


@pytest.mark.seed("S1-67")
@pytest.mark.parametrize(("word", "state"), [("down", "down"), ("active", "up"), ("up", "up")])
def test_both_vocabularies_take_both_words_for_on(
    registry: Registry, acme: Tenant, sandbox: Sandbox, word: str, state: str
) -> None:
    registry.add("txt2img", "a", url=sandbox.url, state="down")
    registry.data("PATCH", f"/v1/txt2img/backends/a?state={word}")
    assert acme.get("/v1/backends/a").data["state"] == state
    acme.patch("/v1/backends/a", {"state": "down"})
    acme.patch("/v1/backends/a", {"state": word})
    (record,) = registry.data("GET", "/v1/txt2img/backends/all")
    assert record["state"] == {"up": "active"}.get(state, state)
    more = acme.register("b", url=sandbox.url, state=word)
    assert more["state"] == state


@pytest.mark.seed("S1-67")
def test_another_state_is_refused(registry: Registry, sandbox: Sandbox) -> None:
    registry.add("txt2img", "a", url=sandbox.url)
    assert "active" in registry.refused("PATCH", "/v1/txt2img/backends/a?state=sleepy")["msg"]
    assert "state" in registry.refused("PATCH", "/v1/txt2img/backends/a")["msg"]
    assert registry.chosen("txt2img") == ["a"]


@pytest.mark.seed("S1-68")
def test_a_backend_moves_to_the_app_that_is_named_and_not_to_one_called_app(
    registry: Registry, sandbox: Sandbox
) -> None:
    registry.add("txt2img", "a", url=sandbox.url)
    answer = registry.call("PATCH", "/v1/txt2img/backends/a/app?new_app_id=img2img")
    assert answer["msg"] == "Backend app_id updated to img2img"
    assert registry.chosen("img2img") == ["a"]
    for gone in ("txt2img", "app"):
        registry.refused("GET", f"/v1/{gone}/backends/all")
    assert "new_app_id" in registry.refused("PATCH", "/v1/img2img/backends/a/app")["msg"]
    assert registry.refused("PATCH", "/v1/img2img/backends/a/app?new_app_id=prompts")["error"] == "invalid_body"


@pytest.mark.seed("S1-69", "S1-75")
@pytest.mark.parametrize("body", [None, {"weight": 7}])
def test_a_weight_is_set_and_moves_nothing(
    registry: Registry, acme: Tenant, sandbox: Sandbox, body: dict[str, int] | None
) -> None:
    registry.add("txt2img", "a", url=sandbox.url)
    path = "/v1/txt2img/backends/a/weight"
    answer = registry.call("PATCH", path if body else f"{path}?new_weight=7", body)
    assert answer["msg"] == "Backend weight updated to 7"
    (record,) = registry.data("GET", "/v1/txt2img/backends/all")
    assert (record["app_id"], record["weight"]) == ("txt2img", 7)
    assert acme.get("/v1/backends/a").data["weight"] == 7
    for wrong in ("0", "-1", "1.5", "heavy", "1000001"):
        assert registry.refused("PATCH", f"{path}?new_weight={wrong}")["error"] == "invalid_body"
    assert registry.refused("PATCH", path)["error"] == "invalid_body"
    assert registry.refused("PATCH", path, {"weight": 0})["error"] == "invalid_body"


@pytest.mark.seed("S1-66")
def test_a_removed_backend_is_gone_for_all_vocabularies(registry: Registry, acme: Tenant, sandbox: Sandbox) -> None:
    registry.add("txt2img", sandbox.url)
    assert registry.refused("DELETE", f"/v1/img2img/backends/{sandbox.url}")["error"] == "not_found"
    answer = registry.call("DELETE", f"/v1/txt2img/backends/{sandbox.url}")
    assert answer["msg"] == "Backend removed successfully"
    assert acme.get("/v1/backends").data == []
    registry.refused("GET", "/v1/txt2img/backends")


@pytest.mark.seed("S1-70")
def test_the_policies_are_known(registry: Registry) -> None:
    assert registry.data("GET", "/v1/policies") == ["round_robin", "weighted", "all_active", "random"]


@pytest.mark.seed("S1-75")
def test_an_instance_is_registered_once_whatever_the_app(registry: Registry, sandbox: Sandbox) -> None:
    registry.add("txt2img", "a", url=sandbox.url)
    for app in ("txt2img", "img2img"):
        again = {"app_id": app, "instance_id": "a", "url": sandbox.url}
        assert registry.refused("POST", "/v1/backends", again)["error"] == "conflict"
    assert len(registry.data("GET", "/v1/backends/all")) == 1


@pytest.mark.seed("S1-73", "S1-75")
@pytest.mark.parametrize(
    "body",
    [
        {"app_id": "a"},
        {"app_id": 7, "instance_id": "x"},
        {"app_id": "a/b", "instance_id": "x"},
        {"app_id": "", "instance_id": "x"},
        {"app_id": "workflows", "instance_id": "x"},
        {"app_id": "a", "instance_id": ""},
        {"app_id": "a", "instance_id": "x", "weight": 0},
        {"app_id": "a", "instance_id": "x", "weight": "2"},
        {"app_id": "a", "instance_id": "x", "weight": 1.5},
        {"app_id": "a", "instance_id": "x", "state": "asleep"},
    ],
)
def test_what_is_wrong_with_a_body_is_told_in_the_same_envelope(registry: Registry, body: dict[str, Any]) -> None:
    assert registry.refused("POST", "/v1/backends", body)["error"] == "invalid_body"
    assert registry.data("GET", "/v1/backends/all") == []


@pytest.mark.seed("S1-73", "S1-72")
@pytest.mark.parametrize(
    "body",
    [{}, {"policy_type": "best"}, {"policy_type": "random", "limit": 0}, {"policy_type": "random", "limit": "2"}],
)
def test_a_policy_that_makes_no_sense_changes_nothing(
    registry: Registry, sandbox: Sandbox, body: dict[str, Any]
) -> None:
    registry.add("txt2img", "a", url=sandbox.url)
    assert registry.refused("PATCH", "/v1/txt2img/policy", body)["error"] == "invalid_body"
    assert registry.refused("PATCH", "/v1/txt2img/policy", data=b"[")["error"] == "invalid_json"
    assert registry.data("GET", "/v1/txt2img/policy") == {"policy_type": "round_robin", "limit": 1}


@pytest.mark.seed("S1-73")
def test_a_wrong_method_is_told_in_the_same_envelope(registry: Registry) -> None:
    assert registry.refused("PUT", "/v1/policies")["error"] == "method_not_allowed"
    assert registry.refused("DELETE", "/v1/txt2img/policy")["error"] == "method_not_allowed"


@pytest.mark.seed("S1-71")
def test_an_app_without_backends_has_no_policy(registry: Registry) -> None:
    registry.refused("GET", "/v1/nothing/policy")
    registry.refused("PATCH", "/v1/nothing/policy", {"policy_type": "random"})


def test_a_word_that_another_route_uses_is_the_id_of_no_app() -> None:
    first = {path.split("/")[2] for dialect in DIALECTS for route in dialect.routes for _, path in route.places
             if path.startswith("/v1/") and "{" not in path.split("/")[2]}  # fmt: skip
    assert first <= RESERVED


def test_the_policy_outlives_a_restart(gateway: GatewayProcess, sandbox: Sandbox, tmp_path: Any) -> None:
    with GatewayProcess(tmp_path / "state") as own:
        tenant = V1(own.url, own.key())
        Registry(tenant).add("txt2img", "a", url=sandbox.url)
        Registry(tenant).data("PATCH", "/v1/txt2img/policy", {"policy_type": "all_active", "limit": 4})
        own.restart()
        assert Registry(tenant).data("GET", "/v1/txt2img/policy") == {"policy_type": "all_active", "limit": 4}
        tenant.close()


def test_a_job_goes_to_the_app_that_it_names(registry: Registry, acme: Tenant, sandbox: Sandbox) -> None:
    with Sandbox() as other:
        registry.add("txt2img", "a", url=sandbox.url)
        registry.add("img2img", "b", url=other.url)
        for app, name in (("txt2img", "a"), ("img2img", "b"), ("txt2img", "a")):
            job = acme.submit({"workflow": tiny(), "labels": {"app": app}}, "/v1/prompts_workflow")
            assert acme.ended(job)["backend"] == name
        registry.data("DELETE", "/v1/img2img/backends/b")


@pytest.mark.parametrize("path", ["%00", "%F0%9F%A6%89", "..", "a%2Fb", "x" * 3000, "%ff", "a b"])
def test_odd_ids_name_nothing_and_break_nothing(registry: Registry, sandbox: Sandbox, path: str) -> None:
    registry.add("txt2img", "a", url=sandbox.url)
    for target in (f"/v1/{path}/backends/all", f"/v1/{path}/policy", f"/v1/{path}/backends"):
        if path != ".." and "%2F" not in path:
            assert registry.refused("GET", target)["error"] == "not_found"
    assert registry.refused("PATCH", f"/v1/txt2img/backends/{path}-?state=down")["error"] == "not_found"
    assert registry.refused("PATCH", f"/v1/txt2img/backends/a/app?new_app_id={path}")["error"] == "invalid_body"
    assert registry.chosen("txt2img") == ["a"]


# who may


def test_the_registry_needs_a_key_and_to_change_it_the_scope(acme: Tenant, sandbox: Sandbox) -> None:
    Registry(acme).add("txt2img", "a", url=sandbox.url)
    jobs = Registry(acme.limited("jobs"))
    assert jobs.chosen("txt2img") == ["a"]
    for method, path, body in (
        ("POST", "/v1/backends", {"app_id": "x", "instance_id": sandbox.url}),
        ("POST", "/v1/x/backends", {"instance_id": sandbox.url}),
        ("PATCH", "/v1/txt2img/backends/a?state=down", None),
        ("PATCH", "/v1/txt2img/backends/a/app?new_app_id=x", None),
        ("PATCH", "/v1/txt2img/backends/a/weight?new_weight=2", None),
        ("PATCH", "/v1/txt2img/policy", {"policy_type": "random"}),
        ("DELETE", "/v1/txt2img/backends/a", None),
    ):
        assert jobs.call(method, path, body)["error"] == "scope_missing"
        response = V1(acme.url, None).raw(method, path, json=body)
        assert response.status_code == 401
        if path != "/v1/backends":
            assert envelope(response)["error"] == "missing_key"
    (record,) = Registry(acme).data("GET", "/v1/txt2img/backends/all")
    assert (record["state"], record["weight"]) == ("active", 1)


def test_anothers_backends_look_like_none(registry: Registry, rival: Tenant, sandbox: Sandbox) -> None:
    Registry(rival).add("txt2img", "theirs", url=sandbox.url)
    Registry(rival).data("PATCH", "/v1/txt2img/policy", {"policy_type": "random", "limit": 2})
    registry.add("txt2img", "mine", url=sandbox.url)
    assert registry.chosen("txt2img") == ["mine"]
    assert registry.data("GET", "/v1/txt2img/policy") == {"policy_type": "round_robin", "limit": 1}
    for path in ("?state=down", "/weight?new_weight=9", "/app?new_app_id=mine"):
        foreign = registry.refused("PATCH", f"/v1/txt2img/backends/theirs{path}")
        absent = registry.refused("PATCH", f"/v1/txt2img/backends/absent{path}")
        assert foreign["msg"].replace("theirs", "absent") == absent["msg"]
    assert registry.refused("DELETE", "/v1/txt2img/backends/theirs")["error"] == "not_found"
    (record,) = Registry(rival).data("GET", "/v1/backends/all")
    assert (record["instance_id"], record["state"], record["weight"]) == ("theirs", "active", 1)
