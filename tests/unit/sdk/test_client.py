"""Each operation: what it sends, and what it makes of the answer."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests_mock

from comfyone import (
    APIError,
    APIResponse,
    AuthenticationError,
    ComfyOneClient,
    ConflictError,
    InvalidRequestError,
    IOType,
    NotFoundError,
    PermissionDeniedError,
    PromptInput,
    PromptPayload,
    RateLimitError,
    ServerError,
    ValidationError,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)

from .conftest import FAST, KEY, Reply, Seen, Server, ok

HOSTED = "https://pandora-server-cf.onethingai.com"
WORKFLOW = WorkflowPayload(
    name="portrait",
    inputs=WorkflowInputPayload(inputs=[WorkflowInput(id="6", type=IOType.STRING, name="text", title="Prompt")]),
    outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id="9")]),
    workflow={"6": {"class_type": "CLIPTextEncode", "inputs": {}}},
)
WORKFLOW_BODY = WORKFLOW.to_dict(extensions=False)
PROMPT = PromptPayload(workflow_id="w-1", inputs=[PromptInput(id="6", params={"text": "owl"})])

Operation = Callable[[ComfyOneClient], APIResponse]
OPERATIONS: list[tuple[str, Operation, str, str, Any]] = [
    ("S1-12", lambda c: c.get_available_backends(), "GET", "/v1/backends", None),
    ("S1-13", lambda c: c.register_backend("i-1"), "POST", "/v1/backends", {"instance_id": "i-1"}),
    ("S1-16", lambda c: c.get_backend("i-1"), "GET", "/v1/backends/i-1", None),
    ("S1-15", lambda c: c.set_backend_state("i-1", "down"), "PATCH", "/v1/backends/i-1", {"state": "down"}),
    ("S1-14", lambda c: c.delete_backend("i-1"), "DELETE", "/v1/backends/i-1", None),
    ("S1-18", lambda c: c.create_workflow(WORKFLOW), "POST", "/v1/workflows", WORKFLOW_BODY),
    ("S1-19", lambda c: c.get_workflows(), "GET", "/v1/workflows", None),
    ("S1-20", lambda c: c.get_workflow("w-1"), "GET", "/v1/workflows/w-1", None),
    ("S1-21", lambda c: c.update_workflow("w-1", WORKFLOW), "PATCH", "/v1/workflows/w-1", WORKFLOW_BODY),
    ("S1-22", lambda c: c.delete_workflow("w-1"), "DELETE", "/v1/workflows/w-1", None),
    ("S1-23", lambda c: c.prompt(PROMPT), "POST", "/v1/prompts", PROMPT.to_dict()),
    (
        "S1-29",
        lambda c: c.prompt_workflow(WORKFLOW.workflow, outputs=["9"]),
        "POST",
        "/v1/prompts_workflow",
        {"workflow": WORKFLOW.workflow, "outputs": ["9"]},
    ),
    ("S1-25", lambda c: c.get_prompt_status("t-1"), "GET", "/v1/prompts/t-1/status", None),
    ("S1-26", lambda c: c.cancel_prompt("t-1"), "POST", "/v1/prompts/t-1/cancel", None),
    ("S1-28", lambda c: c.get_prompt_history(), "GET", "/v1/prompts/history?limit=10&offset=0", None),
]


@pytest.mark.parametrize(
    ("operation", "method", "path", "body"),
    [pytest.param(*rest, marks=pytest.mark.seed(item), id=item) for item, *rest in OPERATIONS],
)
def test_each_operation_sends_exactly_what_the_contract_says(
    operation: Operation, method: str, path: str, body: Any
) -> None:
    with requests_mock.Mocker() as hosted:
        hosted.request(method, HOSTED + path, json={"code": 0, "msg": "success", "data": {"id": "x"}})
        response = operation(ComfyOneClient(KEY))
    sent = hosted.request_history
    assert len(sent) == 1
    assert sent[0].headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in sent[0].url
    assert "Idempotency-Key" not in sent[0].headers
    if body is None:
        assert sent[0].body is None
    else:
        assert sent[0].json() == body
        assert sent[0].headers["Content-Type"] == "application/json"
    assert (response.code, response.data) == (0, {"id": "x"})


@pytest.mark.parametrize(
    "operation",
    [
        lambda c: c.register_backend("i-1", url="http://10.0.0.7:8188"),
        lambda c: c.register_backend("i-1", weight=2),
        lambda c: c.set_backend_state("i-1", "draining"),
        lambda c: c.prompt(PROMPT.model_copy(update={"priority": 3})),
        lambda c: c.prompt(PROMPT.model_copy(update={"inputs": {"text": "owl"}})),
        lambda c: c.prompt(PROMPT, idempotency_key="mine"),
        lambda c: c.prompt_workflow({}, priority=1),
        lambda c: c.create_webhook("https://example.com/hook"),
        lambda c: c.list_webhooks(),
        lambda c: c.delete_webhook("h-1"),
        lambda c: c.webhook_deliveries("h-1"),
    ],
)
def test_the_hosted_service_gets_nothing_that_it_does_not_know(operation: Operation) -> None:
    with requests_mock.Mocker() as hosted, pytest.raises(ValidationError):
        operation(ComfyOneClient(KEY))
    assert hosted.call_count == 0


def test_the_hosted_service_is_never_asked_to_hold_an_answer() -> None:
    with requests_mock.Mocker() as hosted:
        hosted.get(f"{HOSTED}/v1/prompts/t/status", json={"code": 0, "msg": "", "data": {}})
        ComfyOneClient(KEY).get_prompt_status("t", wait=30)
    assert hosted.request_history[0].query == ""


def test_a_gateway_gets_the_extensions(client: ComfyOneClient, server: Server) -> None:
    client.register_backend("gpu-1", url="http://10.0.0.7:8188", weight=2, labels={"zone": "a"}, state="down")
    client.create_workflow(WORKFLOW)
    client.prompt(PROMPT.model_copy(update={"priority": 3}), idempotency_key="mine")
    client.get_prompt_status("t", wait=2.5)
    registered, created, prompted, asked = server.seen
    assert registered.json == {
        "instance_id": "gpu-1",
        "url": "http://10.0.0.7:8188",
        "weight": 2,
        "labels": {"zone": "a"},
        "state": "down",
    }
    assert created.json["inputs"][0]["title"] == "Prompt"
    assert (prompted.json["priority"], prompted.headers["Idempotency-Key"]) == (3, "mine")
    assert asked.query == {"wait": ["2.5"]}


@pytest.mark.parametrize(
    "operation",
    [
        lambda c: c.get_backend(""),
        lambda c: c.get_workflow(".."),
        lambda c: c.set_backend_state("x", "sideways"),
        lambda c: c.update_workflow("w", {"name": "x"}),
        lambda c: c.get_prompt_history(limit=0),
        lambda c: c.get_prompt_history(offset=-1),
        lambda c: c.prompt(PROMPT, idempotency_key="a\nb"),
        lambda c: c.prompt(PROMPT.model_copy(update={"inputs": {"x": float("nan")}})),
        lambda c: c.prompt(PROMPT.model_copy(update={"inputs": {"x": object()}})),
        lambda c: c.upload_file(b"bytes"),
        lambda c: c.upload_file(io.StringIO("text"), name="a.txt"),
        lambda c: c.upload_file(7),
    ],
)
def test_a_value_that_can_not_be_right_is_refused_before_anything_is_sent(
    operation: Operation, client: ComfyOneClient, server: Server
) -> None:
    with pytest.raises(ValidationError):
        operation(client)
    assert server.seen == []


def test_an_id_is_one_segment_of_the_path(client: ComfyOneClient, server: Server) -> None:
    client.get_backend("http://10.0.0.7:8188")
    client.get_workflow("a/b?c#d")
    assert [seen.path for seen in server.seen] == [
        "/v1/backends/http%3A%2F%2F10.0.0.7%3A8188",
        "/v1/workflows/a%2Fb%3Fc%23d",
    ]


@pytest.mark.seed("S1-39", "S1-40", "S1-41", "S1-43", "S1-59")
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, InvalidRequestError),
        (422, InvalidRequestError),
        (418, APIError),
    ],
)
def test_an_http_error_is_raised_at_once_with_all_that_the_server_said(
    status: int, kind: type[APIError], client: ComfyOneClient, server: Server
) -> None:
    body = {
        "code": status,
        "msg": "seed is too large",
        "data": None,
        "error": "slug",
        "hint": "send less",
        "field": "seed",
    }
    server.script.append(Reply(body, status, {"X-Request-Id": "r-9"}))
    with pytest.raises(kind, match="seed is too large") as caught:
        client.get_workflows()
    error = caught.value
    assert (error.code, error.status, error.error, error.hint, error.request_id) == (
        status,
        status,
        "slug",
        "send less",
        "r-9",
    )
    assert error.context == {"field": "seed"}
    assert type(error) is kind
    assert len(server.seen) == 1


@pytest.mark.seed("S1-41")
@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"code":401,"msg":null}'])
def test_a_401_is_an_authentication_error_whatever_its_body(
    body: bytes, client: ComfyOneClient, server: Server
) -> None:
    server.script.append(Reply(body, 401))
    with pytest.raises(AuthenticationError) as caught:
        client.prompt(PROMPT)
    assert (caught.value.code, caught.value.message) == (401, "Invalid API key")
    assert len(server.seen) == 1


def test_a_server_that_repeats_the_key_does_not_get_it_into_an_error(client: ComfyOneClient, server: Server) -> None:
    server.script.append(Reply({"code": 401, "msg": f"unknown key {KEY}"}, 401))
    with pytest.raises(AuthenticationError) as caught:
        client.get_workflows()
    assert KEY not in str(caught.value)
    assert "unknown key ***" in str(caught.value)


@pytest.mark.seed("S1-44", "S1-85")
def test_a_business_failure_is_returned_not_raised(client: ComfyOneClient, server: Server) -> None:
    server.script.append(Reply({"code": 2006, "msg": "no backend", "data": None}))
    response = client.prompt(PROMPT)
    assert (response.code, response.msg, response.ok) == (2006, "no backend", False)
    with pytest.raises(APIError):
        response.raise_for_code()


@pytest.mark.seed("S1-51")
def test_an_empty_answer_is_a_success_and_a_strange_one_an_error(client: ComfyOneClient, server: Server) -> None:
    server.script.extend([Reply(b"", headers={"X-Request-Id": "r-1"}), Reply(b"<html>hello</html>"), Reply([1, 2])])
    response = client.delete_workflow("w")
    assert (response.ok, response.request_id) == (True, "r-1")
    for _ in range(2):
        with pytest.raises(APIError, match="envelope"):
            client.get_workflows()


@pytest.mark.seed("S1-24")
def test_an_upload_is_one_part_named_file(client: ComfyOneClient, server: Server, tmp_path: Path) -> None:
    path = tmp_path / 'ow"l é.png'
    path.write_bytes(b"\x89PNG pixels")
    server.routes["POST /v1/files"] = lambda seen: ok({"Path": "inputs/owl.png"})
    response = client.upload_file(str(path))
    assert response.data == {"Path": "inputs/owl.png"}
    seen = server.seen[0]
    assert seen.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    boundary = seen.headers["Content-Type"].partition("boundary=")[2].encode()
    name = 'name="file"; filename="ow%22l é.png"'.encode()
    assert seen.body == (
        b"--" + boundary + b"\r\nContent-Disposition: form-data; " + name + b"\r\nContent-Type: image/png\r\n\r\n"
        b"\x89PNG pixels\r\n--" + boundary + b"--\r\n"
    )  # fmt: skip


def test_an_upload_takes_bytes_and_open_files_from_where_they_stand(client: ComfyOneClient, server: Server) -> None:
    source = io.BytesIO(b"skip-this pixels")
    source.seek(10)
    client.upload_file(source, name="a.jpg")
    client.upload_file(b"pixels", name="b.bin")
    assert [b"\r\n\r\npixels\r\n--" in seen.body for seen in server.seen] == [True, True]
    assert not source.closed


@pytest.mark.seed("S1-24")
def test_an_upload_of_a_missing_file_sends_nothing(client: ComfyOneClient, server: Server) -> None:
    with pytest.raises(FileNotFoundError):
        client.upload_file("/no/such/file.png")
    assert server.seen == []


def test_a_server_error_keeps_its_words_and_a_limit_its_time(client: ComfyOneClient, server: Server) -> None:
    server.script.append(Reply({"error": "out of disk"}, 507))
    with pytest.raises(ServerError, match="out of disk"):
        client.get_workflows()
    server.script.extend([Reply({"code": 429, "msg": "full"}, 429, {"Retry-After": "7"})] * FAST.attempts)
    with pytest.raises(RateLimitError) as caught:
        client.get_workflows()
    assert caught.value.retry_after == 7
    assert len(server.seen) == 1 + FAST.attempts


@pytest.mark.seed("S1-12", "S1-17")
def test_only_the_backends_that_are_missing_are_registered(client: ComfyOneClient, server: Server) -> None:
    names = ["gpu-1"]

    def register(seen: Seen) -> Reply:
        names.append(seen.json["instance_id"])
        return ok({"name": names[-1]})

    server.routes["GET /v1/backends"] = lambda seen: ok([{"name": name} for name in names])
    server.routes["POST /v1/backends"] = register
    for _ in range(2):
        known = [backend["name"] for backend in client.get_available_backends().data or []]
        for instance in ("gpu-1", "gpu-2", "gpu-3"):
            if instance not in known:
                assert client.register_backend(instance).code == 0
    assert names == ["gpu-1", "gpu-2", "gpu-3"]
