"""Tenants, what they are granted, and their keys, over HTTP."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.administration.conftest import Operator
from tests.acceptance.conftest import Tenant
from tests.support.v1 import V1
from tests.support.waiting import eventually

LIMITS: dict[str, Any] = {
    "weight": 2.5,
    "max_queued": 1000,
    "max_running": 4,
    "max_per_minute": 60,
    "max_bytes": 10**12,
    "max_backend_seconds": 3600.5,
}
NO_LIMITS: list[Any] = [0, -1, "many", True, [], 10**400]
GRANTS = {"withheld": ["graphs"], "allowed_classes": ["LoadImage", "SaveImage"], "denied_classes": ["ShellExec"]}
UNGRANTED: dict[str, Any] = {
    **dict.fromkeys(LIMITS),
    "weight": 1.0,
    "withheld": [],
    "allowed_classes": None,
    "denied_classes": [],
}


def fresh() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


def short(value: object) -> str:
    return str(value)[:20]


def granted(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in UNGRANTED}


def test_a_tenant_is_made_shown_and_listed(operator: Operator) -> None:
    name = fresh()
    made = operator.post("/admin/v1/tenants", {"name": name}).data
    assert made["name"] == name
    assert granted(made) == UNGRANTED
    assert operator.get(f"/admin/v1/tenants/{name}").data == made
    assert made in operator.get("/admin/v1/tenants").data
    operator.post("/admin/v1/tenants", {"name": name}).fails("conflict", "name")
    for bad in ("", "a b", "../x", "shared", "x" * 64):
        operator.post("/admin/v1/tenants", {"name": bad}).fails("invalid_body", "name")
    operator.get("/admin/v1/tenants/no-such").fails("not_found")


def test_what_is_granted_is_changed_field_by_field_and_put_back_by_null(operator: Operator) -> None:
    name = fresh()
    assert granted(operator.post("/admin/v1/tenants", {"name": name, **LIMITS}).data) == {**UNGRANTED, **LIMITS}
    assert granted(operator.set(name, **GRANTS)) == {**LIMITS, **GRANTS}
    assert granted(operator.set(name)) == {**LIMITS, **GRANTS}, "nothing is asked, nothing is changed"
    assert granted(operator.set(name, max_queued=None, withheld=None)) == {
        **LIMITS,
        **GRANTS,
        "max_queued": None,
        "withheld": [],
    }
    operator.set(name, **dict.fromkeys(UNGRANTED))
    assert granted(operator.get(f"/admin/v1/tenants/{name}").data) == UNGRANTED


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in LIMITS for value in NO_LIMITS),
        ("max_queued", 1.5),
        ("withheld", ["jobs"]),
        ("withheld", ["everything"]),
        ("withheld", "graphs"),
        ("allowed_classes", [""]),
        ("denied_classes", ["x" * 501]),
        ("denied_classes", [7]),
        ("max_qeued", 7),
    ],
    ids=short,
)
def test_a_value_that_makes_no_sense_is_refused_by_its_field(operator: Operator, field: str, value: Any) -> None:
    name = fresh()
    operator.post("/admin/v1/tenants", {"name": name})
    body = operator.patch(f"/admin/v1/tenants/{name}", {"weight": 9, field: value}).body
    assert body["error"] in ("invalid_body", "invalid_json"), body
    assert field in body["message"]
    assert granted(operator.get(f"/admin/v1/tenants/{name}").data) == UNGRANTED


def test_a_key_is_told_once_and_does_what_it_says(operator: Operator) -> None:
    name = fresh()
    operator.post("/admin/v1/tenants", {"name": name})
    end = datetime.now(UTC) + timedelta(days=1)
    body = {"name": "website", "scopes": ["jobs"], "expires": end.isoformat()}
    made = operator.post(f"/admin/v1/tenants/{name}/keys", body).data
    key = made.pop("key")
    assert (made["tenant"], made["name"], made["scopes"], made["workflows"]) == (name, "website", ["jobs"], None)
    assert abs(datetime.fromisoformat(made["expires"]) - end) < timedelta(seconds=1)
    assert operator.get(f"/admin/v1/tenants/{name}/keys").data == [made], "and its text is never told again"
    holder = V1(operator.url, key)
    assert holder.get("/v1/prompts/history").data == []
    holder.post("/v1/backends", {"instance_id": "x", "url": "http://127.0.0.1:9"}).fails("scope_missing")
    assert operator.delete(f"/admin/v1/keys/{made['id']}").data is None
    assert eventually(lambda: holder.get("/v1/backends").body.get("error") == "revoked_key")
    assert operator.get(f"/admin/v1/tenants/{name}/keys").data[0]["revoked"]
    holder.close()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["everything"]}, "scope"),
        ({"workflows": []}, "workflows"),
        ({"workflows": ["x" * 201]}, "workflows"),
        ({"workflows": [f"w{number}" for number in range(101)]}, "workflows"),
        ({"expires": "soon"}, "expires"),
        ({"expires": "2020-01-01T00:00:00Z"}, "expires"),
        ({"expires": "2099-01-01T00:00:00"}, "expires"),
        ({"name": "x" * 201}, "name"),
        ({"workflow": "w"}, None),
    ],
    ids=str,
)
def test_a_key_that_makes_no_sense_is_not_made(operator: Operator, body: dict[str, Any], field: str | None) -> None:
    name = fresh()
    operator.post("/admin/v1/tenants", {"name": name})
    operator.post(f"/admin/v1/tenants/{name}/keys", body).fails("invalid_body", field)
    assert operator.get(f"/admin/v1/tenants/{name}/keys").data == []


def test_what_does_not_exist_is_not_made_by_asking(operator: Operator) -> None:
    operator.post("/admin/v1/tenants/no-such/keys", {}).fails("not_found")
    operator.patch("/admin/v1/tenants/no-such", {"weight": 2}).fails("not_found")
    operator.delete("/admin/v1/keys/no-such").fails("not_found")
    assert "no-such" not in [tenant["name"] for tenant in operator.get("/admin/v1/tenants").data]


# the pool of one's own


def test_a_tenant_chooses_how_its_own_pool_spreads_jobs_and_the_operator_any(acme: Tenant, operator: Operator) -> None:
    assert acme.get("/v1/pool").data == {"name": acme.name, "policy": "least_busy"}
    assert acme.call("PUT", "/v1/pool", json={"policy": "round_robin"}).data["policy"] == "round_robin"
    assert operator.get(f"/admin/v1/pools/{acme.name}").data == acme.get("/v1/pool").data
    operator.call("PUT", f"/admin/v1/pools/{acme.name}", json={"policy": "weighted"})
    assert acme.get("/v1/pool").data["policy"] == "weighted"
    assert operator.get("/admin/v1/pools/shared").data == {"name": "shared", "policy": "least_busy"}
    assert operator.call("PUT", "/admin/v1/pools/shared", json={"policy": "all_active"}).data["policy"] == "all_active"
    assert operator.call("PUT", "/admin/v1/pools/shared", json={"policy": "least_busy"}).data
    acme.call("PUT", "/v1/pool", json={"policy": "fastest"}).fails("invalid_body", "policy")
    acme.limited("jobs").call("PUT", "/v1/pool", json={"policy": "random"}).fails("scope_missing")
    operator.get("/admin/v1/pools/no-such").fails("not_found")


# the audit log


def test_every_act_has_its_line_and_no_line_a_secret(
    acme: Tenant, operator: Operator, shared: dict[str, Any], gateway: Any
) -> None:
    name = fresh()
    began = time.time()
    operator.post("/admin/v1/tenants", {"name": name, "max_queued": 5})
    operator.set(name, weight=2)
    operator.issue(name, name="website", workflows=["portrait"]).close()
    key = operator.get(f"/admin/v1/tenants/{name}/keys").data[0]
    operator.delete(f"/admin/v1/keys/{key['id']}")
    operator.patch(f"/admin/v1/backends/{shared['name']}", {"state": "draining"})
    operator.delete(f"/admin/v1/backends/{shared['name']}")
    operator.call("PUT", "/admin/v1/pools/shared", json={"policy": "least_busy"})
    acme.call("PUT", "/v1/pool", json={"policy": "random"})
    operator.patch("/admin/v1/tenants/no-such", {"weight": 2})
    lines = [(line["action"], line["subject"], line["tenant"], line["detail"]) for line in operator.audit(limit=9)]
    subject = f"{key['hint']}… {key['id']}"
    scopes = ["backends", "graphs", "jobs", "webhooks", "workflows"]
    assert lines[::-1] == [
        (
            "backend.create",
            "pooled",
            None,
            {"url": shared["url"], "weight": 1, "labels": {"gpu": "big"}, "state": "up"},
        ),
        ("tenant.create", name, name, {"policy": {"max_queued": 5}}),
        ("tenant.change", name, name, {"policy": {"weight": 2.0}}),
        ("key.create", subject, name, {"name": "website", "scopes": scopes, "workflows": ["portrait"]}),
        ("key.revoke", subject, name, {}),
        ("backend.change", "pooled", None, {"state": "draining"}),
        ("backend.delete", "pooled", None, {}),
        ("pool.change", "shared", None, {"policy": "least_busy"}),
        ("pool.change", acme.name, acme.name, {"policy": "random"}),
    ], "what was refused has no line"
    newest = operator.audit(limit=2)
    assert newest[1]["actor"].startswith(f"key {str(operator.key)[:8]}… ")
    assert newest[0]["actor"].startswith(f"key {acme.secret[:8]}… ")
    assert abs(datetime.fromisoformat(newest[0]["at"]).timestamp() - began) < 60
    everything = operator.raw("GET", "/admin/v1/audit?limit=1000").text
    assert not [key for key in gateway.issued if key in everything]


def test_the_log_is_read_in_pages_newest_first(operator: Operator) -> None:
    for _ in range(5):
        operator.post("/admin/v1/tenants", {"name": fresh()})
    everything = [line["id"] for line in operator.audit(limit=1000)]
    pages: list[str] = []
    while page := operator.audit(limit=3, after=pages[-1] if pages else ""):
        pages += [line["id"] for line in page]
    assert pages == everything == sorted(everything, reverse=True)
    operator.get("/admin/v1/audit", params={"limit": 0}).fails("invalid_body", "limit")
