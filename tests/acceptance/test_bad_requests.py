"""Requests that no honest client sends: each is answered, and the gateway goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from comfyone import NotFoundError
from tests.acceptance.conftest import Tenant
from tests.graphs import tiny
from tests.support.v1 import V1, read
from tests.support.wire import Wire

POSTS = ["/v1/prompts", "/v1/prompts_workflow", "/v1/workflows", "/v1/backends"]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def _nothing_is_lost(shop: Tenant) -> Iterator[None]:
    shop.workflow(tiny(), name="before")
    before = shop.everything()
    yield
    assert shop.everything() == before


DEPTH = 10_000_000
NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "broken": b'{"workflow_id": "before", ',
    "two": b"{}{}",
    "text": b"hello",
    "form": b"workflow_id=before&inputs=[]",
    "array": b"[1, 2, 3]",
    "string": b'"before"',
    "null": b"null",
    "number": b"7",
    "binary": bytes(range(256)),
    "not utf-8": b'{"workflow_id": "\xff\xfe"}',
    "utf-16": '{"workflow_id": "before"}'.encode("utf-16"),
    "half a pair": b'{"workflow_id": "\\ud800"}',
    "10 MB of arrays": b"[" * DEPTH,
    "10 MB of objects": b'{"a":' * (DEPTH // 5),
    "NaN": b'{"workflow_id": NaN}',
}


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("kind", NO_JSON)
def test_a_body_that_is_no_json_object_is_told_so(shop: Tenant, kind: str, path: str) -> None:
    response = shop.raw("POST", path, data=NO_JSON[kind], headers=JSON)
    body = read(response).body
    # what is wrong with the fields of an object may be found before what comes after it
    assert body["error"] == "invalid_json" or (kind in ("two", "not utf-8") and body["error"] == "invalid_body"), body
    assert body["code"] == 400


@pytest.mark.parametrize("where", ["value", "graph", "unknown field"])
def test_ten_megabytes_of_nesting_inside_a_body_are_refused(shop: Tenant, where: str) -> None:
    nested = b"[" * (DEPTH // 2) + b"]" * (DEPTH // 2)
    value = b'{"workflow_id": "before", "inputs": [{"id": "1", "params": {"color": %b}}]}' % nested
    graph = b'{"name": "w", "inputs": [], "outputs": [], "workflow": {"1": {"class_type": "A", "inputs": {"a": %b}}}}'
    unknown = b'{"workflow_id": "before", "whatever": %b}' % nested
    for path, body in {
        "value": [("/v1/prompts", value)],
        "graph": [("/v1/workflows", graph % nested), ("/v1/prompts_workflow", b'{"workflow": %b}' % nested)],
        "unknown field": [("/v1/prompts", unknown)],
    }[where]:
        answer = shop.call("POST", path, data=body, headers=JSON)
        assert answer.status in (400, 422), answer.body


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=x", ""]
)
def test_a_body_is_read_as_json_whatever_it_is_called(shop: Tenant, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = shop.call("POST", "/v1/prompts", data=b'{"workflow_id": "nothing"}', headers=headers)
    answer.fails("not_found", "workflow_id")


def test_a_body_over_the_limit_is_refused_before_it_is_read(limited: Tenant) -> None:
    with Wire(limited.url, limited.secret) as wire:
        wire.head("POST", "/v1/prompts", "Content-Type: application/json", "Content-Length: 5000")
        status, body = wire.answer()
    assert (status, body["error"]) == (413, "too_large")
    assert "2,048" in body["message"]


def test_a_body_of_undeclared_length_is_cut_off_at_the_limit(limited: Tenant) -> None:
    with Wire(limited.url, limited.secret) as wire:
        wire.head("POST", "/v1/prompts", "Content-Type: application/json", "Transfer-Encoding: chunked")
        wire.send_chunks([b"[" * 1000] * 3)
        status, body = wire.answer()
    assert (status, body["error"]) == (413, "too_large")
    limited.post("/v1/prompts", {"workflow_id": "x" * 1900}).fails("no_backend")  # what fits is read


FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"workflow_id": 7}, "workflow_id"),
    ({"workflow_id": None}, "workflow_id"),
    ({"priority": 11}, "priority"),
    ({"priority": -1}, "priority"),
    ({"priority": "high"}, "priority"),
    ({"priority": 1.5}, "priority"),
    ({"priority": True}, "priority"),
    ({"free_gpu": "yes"}, "free_gpu"),
    ({"free_cache": 1}, "free_cache"),
    ({"backend": 7}, "backend"),
]


@pytest.mark.parametrize(("change", "field"), FIELDS, ids=str)
def test_a_field_that_does_not_fit_is_named(shop: Tenant, change: dict[str, Any], field: str) -> None:
    shop.post("/v1/prompts", {"workflow_id": "before", **change}).fails("invalid_body", field)
    if field != "workflow_id":
        shop.post("/v1/prompts_workflow", {"workflow": tiny(), **change}).fails("invalid_body", field)


def test_a_field_that_is_missing_is_named(shop: Tenant) -> None:
    shop.post("/v1/prompts", {"inputs": []}).fails("invalid_body", "workflow_id")
    shop.post("/v1/backends", {"url": "http://127.0.0.1"}).fails("invalid_body", "instance_id")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/prompts"),
        ("GET", "/v1/prompts"),
        ("DELETE", "/v1/workflows"),
        ("POST", "/v1/files/upload/more/still"),
        ("PATCH", "/v1/files"),
        ("OPTIONS", "/v1/backends"),
        ("TRACE", "/v1/backends"),
        ("POST", "/v1/prompts/history"),
        ("POST", "/openapi.json"),
    ],
)
def test_a_method_that_a_route_does_not_know_is_told_so(shop: Tenant, method: str, path: str) -> None:
    answer = shop.call(method, path)
    if path.endswith("still"):
        answer.fails("not_found")
    else:
        assert method in answer.fails("method_not_allowed")["message"]
        assert answer.headers["Allow"]


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/nothing", "/v1/prompts/a/b/c", "/v1/prompts/x/Status"],
)
def test_a_route_that_does_not_exist_is_told_so_in_the_envelope(shop: Tenant, path: str) -> None:
    shop.get(path).fails("not_found")
    V1(shop.url, None).get(path).fails("not_found")


@pytest.mark.parametrize(
    "key",
    [
        "nothing",
        "01a200a3-0000-7df5-84e2-7ffc46735000",
        "%00",
        "..%2f..%2fetc",
        "'; DROP TABLE jobs; --",
        "ü" * 100,
        "x" * 4000,
    ],
)
def test_what_does_not_exist_is_told_so_on_every_route(shop: Tenant, key: str) -> None:
    for path in (
        "/v1/prompts/{}/status",
        "/v1/prompts/{}",
        "/v1/prompts/{}/events",
        "/v1/workflows/{}",
        "/v1/backends/{}",
        "/v1/files/{}",
    ):
        answer = shop.get(path.format(key))
        answer.fails("not_found")
    shop.post(f"/v1/prompts/{key}/cancel").fails("not_found")


def test_unknown_workflows_and_backends_of_a_submission_are_named(shop: Tenant) -> None:
    shop.post("/v1/prompts", {"workflow_id": "nothing"}).fails("not_found", "workflow_id")
    shop.post("/v1/prompts", {"workflow_id": "before", "backend": "gpu-99"}).fails("not_found", "backend")
    shop.post("/v1/prompts_workflow", {"workflow": tiny(), "backend": "gpu-99"}).fails("not_found", "backend")
    with pytest.raises(NotFoundError, match="nothing"):
        shop.sdk.submit("nothing", seed=1)


@pytest.mark.parametrize("field", ["workflow_id", "backend"])
def test_a_name_of_a_megabyte_is_not_sent_back(shop: Tenant, field: str) -> None:
    body = {"workflow_id": "before", field: "x" * 1_000_000}
    shop.post("/v1/prompts", body).fails("not_found", field)
    long = {"workflow_id": "before", "inputs": {"y" * 1_000_000: 1}}
    shop.post("/v1/prompts", long).fails("invalid_input")


def test_a_refused_submission_does_not_use_up_its_idempotency_key(shop: Tenant) -> None:
    headers = {"Idempotency-Key": "once"}
    shop.post("/v1/prompts", {"workflow_id": "nothing"}, headers=headers).fails("not_found")
    shop.post("/v1/prompts", {"workflow_id": "still nothing"}, headers=headers).fails("not_found")


@pytest.mark.parametrize(
    "line",
    [
        "GET /v1/backends HTTP/9.9",
        "NONSENSE",
        "GET /v1/backends\x00 HTTP/1.1",
        "GET http://[ HTTP/1.1",
        "\x16\x03\x01\x02\x00",
    ],
)
def test_a_line_that_is_no_http_ends_its_connection_alone(shop: Tenant, line: str) -> None:
    with Wire(shop.url, shop.secret) as wire:
        wire.send(f"{line}\r\nHost: x\r\n\r\n".encode("latin-1"))
        wire.end()
        status, _ = wire.answer()
        assert status in (0, 400, 401, 404)


def test_a_head_of_a_megabyte_ends_its_connection_alone(shop: Tenant) -> None:
    for head in (["X-Long: " + "x" * 2_000_000], [f"X-{number}: x" for number in range(200_000)]):
        with Wire(shop.url, shop.secret) as wire:
            try:
                wire.head("GET", "/v1/backends", *head)
                status, _ = wire.answer()
            except OSError:
                status = 0
            assert status in (0, 400)
    assert shop.get("/v1/backends", headers={"X-Long": "x" * 20_000}).data
