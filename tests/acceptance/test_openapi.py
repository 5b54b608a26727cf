"""The description of the interface says what is served: neither more nor less, and every answer has its shape."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from comfyone.errors import FAULTS
from comfyone.gateway.dialects.comfyone_v1.routes import ROUTES
from comfyone.gateway.dialects.roster import DIALECTS
from comfyone.gateway.dialects.routing import Codec, Route
from tests.acceptance.conftest import Tenant
from tests.graphs import failing, speaking, tiny
from tests.support.pictures import png
from tests.support.schemas import misfits
from tests.support.v1 import V1

DESCRIBED = [(route, dialect.codec) for dialect in DIALECTS for route in dialect.routes if route.described]
SHARED: dict[tuple[str, str], list[tuple[Route, Codec]]] = {}
"""What is served by method and path as the document spells them: one route, or one of each dialect that claims the place."""

for _route, _codec in DESCRIBED:
    for _method, _path in _route.places:
        SHARED.setdefault((_method.lower(), re.sub(r":\w+}", "}", _path)), []).append((_route, _codec))

PLACES = {"get", "put", "post", "delete", "patch"}


@pytest.fixture
def document(acme: Tenant) -> dict[str, Any]:
    response = V1(acme.url, None).raw("GET", "/openapi.json")  # no key is needed to read it
    assert response.headers["content-type"] == "application/json"
    return dict(response.json())


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()]


def test_every_route_is_described_and_nothing_else(document: dict[str, Any], acme: Tenant) -> None:
    assert {(method, path) for path, method, _ in operations(document)} == SHARED.keys()
    for (method, path), served in SHARED.items():
        route, codec = served[0]
        answer = V1(acme.url, None).raw(method.upper(), re.sub(r"{\w+}", "x", path))
        expected = route.status if route.open else codec.status("missing_key")
        assert answer.status_code == expected, "it is served, to those who have a key"


def test_the_document_is_sound(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"]
    assert document["info"]["version"]
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for path, method, operation in operations(document):
        assert path.startswith("/")
        assert method in PLACES
        in_path = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        assert all(parameter["required"] for parameter in operation["parameters"] if parameter["in"] == "path")
        assert all(parameter["schema"]["type"] for parameter in operation["parameters"])
        assert operation["summary"]
        for route, codec in SHARED[method, path]:
            told = {route.status, codec.status("internal"), *([] if route.open else [codec.status("missing_key")])}
            assert {str(status) for status in told} <= operation["responses"].keys()
            assert ("security" in operation) == route.open
        assert all(answer["description"] for answer in operation["responses"].values())
        takes = any(route.body is not None or route.upload or route.sends for route, _ in SHARED[method, path])
        assert ("requestBody" in operation) == takes


def test_every_reference_leads_somewhere_and_every_schema_is_used(document: dict[str, Any]) -> None:
    referred = set(re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)))
    assert referred == document["components"]["schemas"].keys()


def test_security_names_schemes_that_are_declared(document: dict[str, Any]) -> None:
    named = {name for requirement in document["security"] for name in requirement}
    assert named == document["components"]["securitySchemes"].keys()


def test_the_faults_of_the_document_are_those_of_the_table(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["Error"]["properties"]["error"]["enum"] == sorted(FAULTS)
    for path, method, operation in operations(document):
        for status, answer in operation["responses"].items():
            for slug in re.findall(r"`(\w+)`:", answer["description"]):
                assert int(status) in {codec.status(slug) for _, codec in SHARED[method, path]}


# answers against the document


def test_answers_have_the_shape_that_is_described(shop: Tenant, document: dict[str, Any]) -> None:
    graph = {**tiny(), "4": speaking("said")["1"]}
    inputs = [{"id": "1", "type": "number", "name": "color", "minimum": 0, "title": "colour"}]
    backend = shop.get("/v1/backends").data[0]["name"]
    checked = []

    def check(method: str, template: str, path: str, body: Any = None, **options: Any) -> Any:
        response = shop.raw(method, path, json=body, **options)
        answer = document["paths"][template][method.lower()]["responses"][str(response.status_code)]
        wrong = misfits(document, answer["content"]["application/json"]["schema"], response.json())
        assert wrong == [], f"{method} {path}: {wrong}"
        checked.append((template, method.lower()))
        return response.json()["data"]

    workflow = {"name": "w", "inputs": inputs, "outputs": ["3", "4"], "workflow": graph}
    check("GET", "/v1/backends", "/v1/backends")
    check("GET", "/v1/backends/{name}", f"/v1/backends/{backend}")
    check("GET", "/v1/backends/{name}/history", f"/v1/backends/{backend}/history")
    check("PATCH", "/v1/backends/{name}", f"/v1/backends/{backend}", {"labels": {"a": "b"}})
    later = {"instance_id": "later", "url": "http://127.0.0.1:9", "state": "down"}
    check("POST", "/v1/backends", "/v1/backends", later)
    check("DELETE", "/v1/backends/{name}", "/v1/backends/later")
    made = check("POST", "/v1/workflows", "/v1/workflows", workflow)
    check("GET", "/v1/workflows", "/v1/workflows")
    check("GET", "/v1/workflows/{id}", f"/v1/workflows/{made['id']}")
    check("PATCH", "/v1/workflows/{id}", "/v1/workflows/w", workflow)
    check("PUT", "/v1/workflows/{id}", "/v1/workflows/w", workflow)
    file = check("POST", "/v1/files", "/v1/files", files={"file": ("photo.png", png())})
    check("POST", "/v1/files/upload", "/v1/files/upload", files={"file": ("photo.png", png())})
    job = check("POST", "/v1/prompts", "/v1/prompts", {"workflow_id": "w", "inputs": {"colour": 1}})["id"]
    bad = check("POST", "/v1/prompts_workflow", "/v1/prompts_workflow", {"workflow": failing()})["id"]
    check("GET", "/v1/prompts/{id}", f"/v1/prompts/{job}")
    assert [shop.ended(each)["state"] for each in (job, bad)] == ["succeeded", "failed"]
    check("GET", "/v1/prompts/{id}/status", f"/v1/prompts/{job}/status")
    check("GET", "/v1/prompts/{id}/status", f"/v1/prompts/{bad}/status")
    check("PATCH", "/v1/prompts/{id}", f"/v1/prompts/{job}", {"priority": 3})  # 409
    check("GET", "/v1/prompts/history", "/v1/prompts/history")
    check("POST", "/v1/prompts/{id}/cancel", f"/v1/prompts/{job}/cancel")  # 409
    check("DELETE", "/v1/prompts/{id}", "/v1/prompts/nothing")  # 404
    check("GET", "/v1/prompts/{id}/events", "/v1/prompts/nothing/events")  # 404
    check("GET", "/v1/files/{id}", "/v1/files/nothing")
    check("GET", "/v1/files/{id}/{name}", "/v1/files/nothing/x.png")
    check("DELETE", "/v1/files/{id}", f"/v1/files/{file['id']}")
    check("POST", "/v1/webhooks", "/v1/webhooks", {"url": "http://10.0.0.1/"})  # 422
    check("GET", "/v1/webhooks", "/v1/webhooks")
    check("GET", "/v1/webhooks/{id}", "/v1/webhooks/nothing")  # 404, as all that follow
    check("PATCH", "/v1/webhooks/{id}", "/v1/webhooks/nothing", {"enabled": True})
    check("DELETE", "/v1/webhooks/{id}", "/v1/webhooks/nothing")
    check("POST", "/v1/webhooks/{id}/secret", "/v1/webhooks/nothing/secret")
    check("POST", "/v1/webhooks/{id}/test", "/v1/webhooks/nothing/test")
    check("GET", "/v1/webhooks/{id}/deliveries", "/v1/webhooks/nothing/deliveries")
    retry = "/v1/webhooks/{id}/deliveries/{delivery}/retry"
    check("POST", retry, "/v1/webhooks/nothing/deliveries/nothing/retry")
    check("DELETE", "/v1/workflows/{id}", "/v1/workflows/w")
    check("POST", "/v1/prompts", "/v1/prompts", {"workflow_id": 7})
    check("DELETE", "/v1/backends/{name}", f"/v1/backends/{backend}")
    check("POST", "/v1/prompts_workflow", "/v1/prompts_workflow", {"workflow": tiny()})  # 200, code 2006
    check("GET", "/v1/pool", "/v1/pool")
    check("PUT", "/v1/pool", "/v1/pool", {"policy": "weighted"})
    check("GET", "/v1/usage", "/v1/usage")
    own = {(re.sub(r":\w+}", "}", path), method.lower()) for route in ROUTES for method, path in route.places}
    assert set(checked) == own


def test_bodies_that_are_described_are_taken(document: dict[str, Any]) -> None:
    schema = document["paths"]["/v1/prompts"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert misfits(document, schema, {"workflow_id": "w", "inputs": [{"id": "5", "params": {"width": 1}}]}) == []
    assert misfits(document, schema, {"inputs": []}) == [" lacks workflow_id"]
    upload = document["paths"]["/v1/files"]["post"]["requestBody"]["content"]
    assert list(upload) == ["multipart/form-data"]


def test_the_page_is_one_file_that_loads_nothing_from_elsewhere(acme: Tenant) -> None:
    response = V1(acme.url, None).raw("GET", "/docs")
    assert response.headers["content-type"].startswith("text/html")
    page = unescape(response.text)
    assert "<script" not in page
    assert not re.findall(r"""(?:src|href|url|import)\s*[=(]\s*["']?\s*(?:https?:)?//""", page)
    for route, _ in DESCRIBED:
        assert re.sub(r":\w+}", "}", route.path) in page
        assert route.summary in page
