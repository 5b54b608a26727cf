"""What was used: whose, when, by what; as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.administration.conftest import Operator
from tests.acceptance.conftest import Tenant
from tests.graphs import tiny
from tests.support.schemas import misfits
from tests.support.v1 import V1

PERIOD = {"from": "2026-01-01", "to": "2026-01-31"}


def rows(api: V1, path: str = "/v1/usage", **query: Any) -> list[dict[str, Any]]:
    return list(api.get(path, params={**PERIOD, **query}).data)


def table(api: V1, path: str, **options: Any) -> list[dict[str, str]]:
    response = api.raw("GET", path, **options)
    assert response.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(response.text)))


@pytest.fixture
def used(shop: Tenant, operator: Operator) -> dict[str, str]:
    """What a shop has used on three days; another tenant has used the same backend."""
    backend = shop.get("/v1/backends").data[0]["name"]
    workflow = shop.workflow(tiny(), name="portrait")["id"]
    operator.used(shop.name, 1, workflow, "gone", succeeded=2, backend_seconds=1.5, output_bytes=100)
    operator.used(shop.name, 2, workflow, "gone", succeeded=1, failed=1, backend_seconds=2.25, output_bytes=50)
    operator.used(shop.name, 2, "", "gone", cancelled=3, backend_seconds=0.125)
    return {"workflow": workflow, "backend": backend}


def test_usage_is_shown_by_everything_there_is(shop: Tenant, used: dict[str, str]) -> None:
    first, raw, last = sorted(rows(shop), key=lambda row: (row["day"], row["workflow_id"] or ""))
    assert first == {
        "day": "2026-01-01",
        "workflow": "portrait",
        "workflow_id": used["workflow"],
        "backend": None,
        "backend_id": "gone",
        "succeeded": 2,
        "failed": 0,
        "cancelled": 0,
        "backend_seconds": 1.5,
        "output_bytes": 100,
    }
    assert (raw["workflow"], raw["workflow_id"], raw["cancelled"]) == (None, None, 3)
    assert (last["succeeded"], last["failed"]) == (1, 1)


def test_usage_is_added_up_by_what_is_asked_and_within_the_days_that_are_asked(
    shop: Tenant, used: dict[str, str]
) -> None:
    days = rows(shop, by="day")
    assert [(row["day"], row["succeeded"], row["backend_seconds"]) for row in days] == [
        ("2026-01-01", 2, 1.5),
        ("2026-01-02", 1, 2.375),
    ]
    assert all("workflow" not in row and "backend" not in row for row in days)
    [total] = rows(shop, by="backend")
    assert (total["succeeded"], total["failed"], total["cancelled"], total["output_bytes"]) == (3, 1, 3, 150)
    assert [row["day"] for row in rows(shop, by="day,workflow", to="2026-01-01")] == ["2026-01-01"]
    assert rows(shop, **{"from": "2026-01-03"}) == []
    assert shop.get("/v1/usage").data == [], "without dates it is about the last thirty days"


def test_a_tenant_sees_its_own_usage_and_the_operator_everybodys(
    shop: Tenant, rival: Tenant, operator: Operator, used: dict[str, str]
) -> None:
    operator.used(rival.name, 1, "", "gone", succeeded=7)
    assert [row["succeeded"] for row in rows(rival)] == [7]
    shop.get("/v1/usage", params={"by": "tenant"}).fails("invalid_body", "by")
    assert rows(shop, tenant=rival.name) == rows(shop), "a tenant has no say in whose"
    everybody = {row["tenant"]: row["succeeded"] for row in rows(operator, "/admin/v1/usage", by="tenant")}
    assert (everybody[shop.name], everybody[rival.name]) == (3, 7)
    [alone] = rows(operator, "/admin/v1/usage", by="tenant", tenant=rival.name)
    assert (alone["tenant"], alone["succeeded"]) == (rival.name, 7)
    operator.get("/admin/v1/usage", params={"tenant": "no-such"}).fails("not_found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"to": "0001-01-01"}, "to"),
        ({"from": "2026-02-01", "to": "2026-01-01"}, "from"),
        ({"from": "2020-01-01", "to": "2026-01-01"}, "from"),
        ({"by": "colour"}, "by"),
        ({"by": ","}, "by"),
    ],
    ids=str,
)
def test_a_question_that_makes_no_sense_is_refused(acme: Tenant, query: dict[str, str], field: str) -> None:
    for form in ("", "csv"):
        acme.get("/v1/usage", params={**query, "format": form}).fails("invalid_body", field)


def test_usage_is_exported_as_csv(shop: Tenant, operator: Operator, used: dict[str, str]) -> None:
    asked = table(shop, "/v1/usage", params={**PERIOD, "format": "csv"})
    accepted = table(shop, "/v1/usage", params=PERIOD, headers={"Accept": "text/csv"})
    assert asked == accepted
    told = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows(shop)]
    assert asked == told
    [mine] = table(operator, "/admin/v1/usage", params={**PERIOD, "by": "tenant", "tenant": shop.name, "format": "csv"})
    assert (mine["tenant"], mine["succeeded"]) == (shop.name, "3")
    head = shop.raw("GET", "/v1/usage?format=csv&by=day").text
    assert head == "day,succeeded,failed,cancelled,backend_seconds,output_bytes\r\n", "no rows, but their names"


def test_a_name_is_no_formula_to_a_spreadsheet(shop: Tenant, operator: Operator) -> None:
    workflow = shop.workflow(tiny(), name='=1+2, "x"')["id"]
    operator.used(shop.name, 1, workflow, "gone", succeeded=1)
    [row] = table(shop, "/v1/usage", params={**PERIOD, "format": "csv"})
    assert row["workflow"] == '\'=1+2, "x"'


def test_answers_have_the_shape_that_is_described(
    acme: Tenant, operator: Operator, sandbox: Sandbox, used: dict[str, str]
) -> None:
    document = operator.raw("GET", "/openapi.json").json()
    checked = set()

    def check(method: str, template: str, path: str, body: Any = None) -> Any:
        template = f"/admin/v1{template}"
        response = operator.raw(method, f"/admin/v1{path}", json=body)
        answer = document["paths"][template][method.lower()]["responses"][str(response.status_code)]
        assert response.status_code == 200
        wrong = misfits(document, answer["content"]["application/json"]["schema"], response.json())
        assert wrong == [], f"{method} {path}: {wrong}"
        checked.add((method.lower(), template))
        return response.json()["data"]

    name, limits = f"{acme.name}-2", {"allowed_classes": ["A"], "max_queued": 3}
    check("POST", "/tenants", "/tenants", {"name": name, **limits})
    check("GET", "/tenants", "/tenants")
    check("GET", "/tenants/{name}", f"/tenants/{name}")
    check("PATCH", "/tenants/{name}", f"/tenants/{name}", {"weight": 2, "max_queued": None})
    made = check("POST", "/tenants/{name}/keys", f"/tenants/{name}/keys", {"workflows": ["w"]})
    check("GET", "/tenants/{name}/keys", f"/tenants/{name}/keys")
    check("DELETE", "/keys/{id}", f"/keys/{made['id']}")
    check("POST", "/backends", "/backends", {"name": "pooled", "url": sandbox.url})
    check("GET", "/backends", "/backends")
    check("GET", "/backends/{name}", "/backends/pooled")
    check("PATCH", "/backends/{name}", "/backends/pooled", {"state": "draining"})
    check("DELETE", "/backends/{name}", "/backends/pooled")
    check("GET", "/pools/{name}", "/pools/shared")
    check("PUT", "/pools/{name}", "/pools/shared", {"policy": "least_busy"})
    check("GET", "/usage", "/usage?from=2026-01-01&to=2026-01-31")
    check("GET", "/audit", "/audit")
    described = {(method, path) for path in document["paths"] for method in document["paths"][path]}
    assert checked == {(method, path) for method, path in described if path.startswith("/admin/")}
