"""From values by name to what travels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests_mock
from PIL import Image

from comfyone import ComfyOne, NotFoundError, PromptInput, ValidationError

from .conftest import KEY, Server, ok

HOSTED = "https://pandora-server-cf.onethingai.com/v1"
RECORD: dict[str, Any] = {
    "id": "w-1",
    "name": "portrait",
    "inputs": [
        {"id": "6", "type": "string", "name": "text", "title": "prompt"},
        {"id": "7", "type": "string", "name": "text"},
        {"id": "3", "type": "number", "name": "seed"},
        {"id": "3", "type": "number", "name": "steps"},
        {"id": "12", "type": "image", "name": "image"},
    ],
    "outputs": ["9"],
}


@pytest.fixture(autouse=True)
def _routes(server: Server) -> None:
    server.routes["POST /v1/prompts"] = lambda seen: ok({"taskId": "t-1", "id": "t-1"})
    server.routes["POST /v1/files"] = lambda seen: ok({"Path": f"in/{len(server.seen)}.png"})
    server.routes["GET /v1/workflows/portrait"] = lambda seen: ok(RECORD)


def test_a_gateway_gets_names_and_resolves_them_itself(one: ComfyOne, server: Server) -> None:
    job = one.submit("portrait", backend="gpu-1", priority=2, idempotency_key="k-1", inputs={"priority": 1}, seed=7)
    assert job.id == "t-1"
    assert len(server.seen) == 1
    assert server.seen[0].headers["Idempotency-Key"] == "k-1"
    assert server.seen[0].json == {
        "workflow_id": "portrait",
        "inputs": {"priority": 1, "seed": 7},
        "free_cache": False,
        "free_gpu": True,
        "backend": "gpu-1",
        "priority": 2,
    }


def test_a_workflow_without_values_runs_too(one: ComfyOne, server: Server) -> None:
    one.submit("portrait")
    assert server.seen[0].json["inputs"] == []


def test_whatever_is_a_file_is_uploaded_first(one: ComfyOne, server: Server, tmp_path: Path) -> None:
    picture = Image.new("RGB", (2, 2), "red")
    path = tmp_path / "owl.png"
    picture.save(path)
    with path.open("rb") as opened:
        one.submit("portrait", a=path, b=opened, c=picture, d=path.read_bytes(), e="owl.png")
    *uploads, prompt = server.seen
    assert prompt.json["inputs"] == {"a": "in/1.png", "b": "in/2.png", "c": "in/3.png", "d": "in/4.png", "e": "owl.png"}
    assert all(b"\x89PNG" in upload.body and b"Content-Type: image/png" in upload.body for upload in uploads)


def test_values_by_node_and_by_name_meet_through_the_declared_inputs(one: ComfyOne, server: Server) -> None:
    one.submit("portrait", inputs=[PromptInput(id="6", params={"text": "owl"})], seed=7, steps=20)
    assert server.seen[-1].json["inputs"] == [
        {"id": "6", "params": {"text": "owl"}},
        {"id": "3", "params": {"seed": 7, "steps": 20}},
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": object()}, "seed"),
        ({"seed": float("nan")}, "JSON"),
        ({"inputs": {"seed": 1}, "seed": 2}, "twice"),
        ({"inputs": [{"params": {}}]}, "id"),
        ({"priority": 11}, "priority"),
        ({"inputs": [{"id": "6", "params": {}}], "nothing": 1}, "declares no input 'nothing'"),
        ({"inputs": [{"id": "3", "params": {}}], "text": "x"}, "several nodes: 6, 7"),
    ],
)
def test_a_value_that_can_not_be_placed_is_refused_by_name(
    one: ComfyOne, server: Server, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        one.submit("portrait", **arguments)
    assert all(seen.method == "GET" for seen in server.seen)


def test_run_waits_and_gives_the_result(one: ComfyOne, server: Server) -> None:
    server.routes["GET /v1/prompts/t-1/status"] = lambda seen: ok(
        {"id": "t-1", "state": "succeeded", "outputs": [{"node_id": "9", "value": 4}]}
    )
    assert one.run("portrait", timeout=10, seed=7).values == [4]


@pytest.mark.seed("S1-23", "S1-54")
def test_the_hosted_service_gets_nodes_and_only_what_it_knows() -> None:
    with requests_mock.Mocker() as hosted:
        hosted.get(f"{HOSTED}/workflows/w-1", json={"code": 0, "msg": "", "data": RECORD})
        hosted.get(f"{HOSTED}/workflows/portrait", json={"code": 404, "msg": "unknown"})
        hosted.get(f"{HOSTED}/workflows", json={"code": 0, "msg": "", "data": [{"id": "w-1", "name": "portrait"}]})
        hosted.post(f"{HOSTED}/prompts", json={"code": 0, "msg": "", "data": {"task_id": "t-9"}})
        client = ComfyOne(KEY)
        for name in ("w-1", "portrait"):
            assert client.submit(name, prompt="an owl", seed=7).id == "t-9"
            sent = hosted.last_request
            assert sent is not None
            assert sent.json() == {
                "workflow_id": "w-1",
                "inputs": [{"id": "6", "params": {"text": "an owl"}}, {"id": "3", "params": {"seed": 7}}],
                "free_cache": False,
                "free_gpu": True,
            }
            assert "Idempotency-Key" not in sent.headers
        hosted.get(f"{HOSTED}/workflows/landscape", json={"code": 404, "msg": "unknown workflow landscape"})
        with pytest.raises(NotFoundError, match="landscape"):
            client.submit("landscape")
