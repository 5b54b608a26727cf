"""Graphs are queued as at one ComfyUI, and refused in its words."""

from __future__ import annotations

import json
import secrets
from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image

from comfyone.emulator import Sandbox
from tests.acceptance.comfyui.conftest import Native
from tests.acceptance.conftest import Tenant
from tests.graphs import Graph, empty, failing, node, save, sleeping, slow, text_to_image, tiny
from tests.support.waiting import eventually

pytestmark = pytest.mark.seed("S5-9", "S5-12", "S5-13", "S5-14", "S5-57")


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_graph_is_queued_and_its_result_is_in_the_history(comfyui: Native, prefix: str) -> None:
    answer = comfyui.post(f"{prefix}/prompt", {"prompt": tiny(color=0x112233), "client_id": "me"}).json()
    assert answer["node_errors"] == {}
    assert isinstance(answer["number"], int)
    entry = comfyui.entry(answer["prompt_id"])
    number, prompt_id, graph, extra, outputs = entry["prompt"]
    assert (number, prompt_id, graph) == (answer["number"], answer["prompt_id"], tiny(color=0x112233))
    assert extra["client_id"] == "me"
    assert isinstance(extra["create_time"], int)
    assert outputs == ["3"]
    assert entry["status"]["status_str"] == "success"
    assert entry["status"]["completed"] is True
    assert [kind for kind, _ in entry["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]
    assert all(told["prompt_id"] == prompt_id for _, told in entry["status"]["messages"])
    [image] = entry["outputs"]["3"]["images"]
    assert image["type"] == "output"
    assert entry["meta"] == {"3": {"node_id": "3", "display_node": "3", "parent_node": None, "real_node_id": "3"}}


@pytest.mark.seed("S5-52")
def test_a_prompt_keeps_the_id_that_its_caller_chose(comfyui: Native, other: Native) -> None:
    mine = "my own id: 1"
    assert comfyui.queue(tiny(), prompt_id=mine) == mine
    assert comfyui.entry(mine)["prompt"][1] == mine
    assert comfyui.refused(tiny(), 409, prompt_id=mine)["error"]["type"] == "conflict"
    assert other.get(f"/history/{mine}") == {}
    assert other.queue(tiny(), prompt_id=mine) == mine, "another tenant's ids are its own"


@pytest.mark.seed("S5-58")
def test_extra_data_that_is_nested_too_deeply_is_refused(comfyui: Native) -> None:
    prompt, deep, fine = json.dumps(slow(40, 0.05)), "[" * 110 + "]" * 110, "[" * 90 + "]" * 90
    for extra, status in ((deep, 400), (fine, 200)):
        body = f'{{"prompt": {prompt}, "extra_data": {{"x": {extra}}}}}'
        assert comfyui.raw("POST", "/prompt", data=body).status_code == status
    assert comfyui.raw("GET", "/queue").status_code == 200
    comfyui.post("/queue", {"clear": True})
    comfyui.post("/interrupt")


def test_an_answer_holds_as_many_graphs_as_are_worth_it_and_all_can_be_stopped(comfyui: Native) -> None:
    large = {"x": "x" * 8_000_000}
    for number in range(8):
        comfyui.queue(slow(400 + number, 0.05), extra_data=large)
    assert len(comfyui.get("/queue")["queue_pending"]) < 7
    assert comfyui.get("/prompt")["exec_info"]["queue_remaining"] == 8
    comfyui.post("/queue", {"clear": True})
    comfyui.post("/interrupt")
    eventually(lambda: comfyui.get("/prompt")["exec_info"]["queue_remaining"] == 0)


def test_extra_data_reaches_the_picture_and_the_history(comfyui: Native) -> None:
    extra = {"extra_pnginfo": {"workflow": {"nodes": [1, 2]}}, "api_key_comfy_org": "secret-word"}
    entry = comfyui.run(tiny(color=secrets.randbelow(1 << 24)), extra_data=extra)  # nothing that the server has kept
    assert entry["prompt"][3]["extra_pnginfo"] == {"workflow": {"nodes": [1, 2]}}
    assert "secret-word" not in json.dumps(entry)
    content = comfyui.view(entry["outputs"]["3"]["images"][0]).content
    with Image.open(BytesIO(content)) as image:
        assert json.loads(image.info["workflow"]) == {"nodes": [1, 2]}


def width(value: Any) -> Graph:
    return {**tiny(), "1": {**empty(1), "inputs": {**empty(1)["inputs"], "width": value}}}


def sampler(**values: Any) -> Graph:
    graph = text_to_image("an owl")
    [node_id] = [key for key, each in graph.items() if each["class_type"] == "KSampler"]
    graph[node_id] = {**graph[node_id], "inputs": {**graph[node_id]["inputs"], **values}}
    return graph


@pytest.mark.seed("S5-50")
@pytest.mark.parametrize(
    ("graph", "kind"),
    [
        ({}, "prompt_no_outputs"),
        ([], "prompt_no_outputs"),
        ({"1": empty(1)}, "prompt_no_outputs"),
        ({"1": {"inputs": {}}}, "invalid_prompt"),
        ({"1": "text"}, "invalid_prompt"),
        ({"1": node("NoSuchClass")}, "invalid_prompt"),
        (width(-1), "prompt_outputs_failed_validation"),
    ],
    ids=str,
)
def test_a_graph_that_cannot_run_is_refused_in_comfyuis_words(comfyui: Native, graph: Any, kind: str) -> None:
    assert comfyui.refused(graph)["error"]["type"] == kind
    assert comfyui.get("/queue") == {"queue_running": [], "queue_pending": []}


@pytest.mark.seed("S5-50")
@pytest.mark.parametrize(
    ("graph", "node_id", "kind", "name"),
    [
        (width(-1), "1", "value_smaller_than_min", "width"),
        (width(10**9), "1", "value_bigger_than_max", "width"),
        (width("wide"), "1", "invalid_input_type", "width"),
        (width(["1"]), "1", "bad_linked_input", "width"),
        ({"3": node("SaveImage", filename_prefix="x")}, "3", "required_input_missing", "images"),
        ({"1": empty(1), "3": save("9")}, "3", "exception_during_validation", "images"),
        (
            {"1": node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly.safetensors"), "3": save("1")},
            "3",
            "return_type_mismatch",
            "images",
        ),
        ({"1": node("LoadImage", image="nobody.png"), "3": save("1")}, "1", "custom_validation_failed", "image"),
        (sampler(sampler_name="none such"), "3", "value_not_in_list", "sampler_name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_node_is_told_at_the_node(
    comfyui: Native, graph: Graph, node_id: str, kind: str, name: str
) -> None:
    body = comfyui.refused(graph)
    told = body["node_errors"][node_id]
    assert told["class_type"] == graph[node_id]["class_type"]
    assert told["dependent_outputs"]
    [error] = told["errors"]
    assert error["type"] == kind
    assert name in error["details"] or error["extra_info"].get("input_name") == name or "9" in error["details"]


def test_the_sandbox_refuses_the_same_graphs_with_the_same_words(comfyui: Native, sandbox: Sandbox) -> None:
    """The sandbox is the witness: it says what ComfyUI says, and shares no code with the gateway."""
    for graph in (width(-1), width(10**9), width(["1"]), {"1": empty(1)}, {"1": node("NoSuchClass")}, {}):
        theirs = requests.post(f"{sandbox.url}/prompt", json={"prompt": graph}, timeout=10)
        assert theirs.status_code == 400
        ours = comfyui.refused(graph)
        assert ours["error"] == theirs.json()["error"]
        for node_id, told in theirs.json()["node_errors"].items():
            assert [error["type"] for error in ours["node_errors"][node_id]["errors"]] == [
                error["type"] for error in told["errors"]
            ]
            assert [error["message"] for error in ours["node_errors"][node_id]["errors"]] == [
                error["message"] for error in told["errors"]
            ]
            assert ours["node_errors"][node_id]["dependent_outputs"] == told["dependent_outputs"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"prompt": {}, "client_id": 7}', b"{}"])
def test_a_body_that_is_no_prompt_is_refused_in_the_same_form(comfyui: Native, body: bytes) -> None:
    answer = comfyui.raw("POST", "/prompt", data=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "node_errors"}


@pytest.mark.seed("S5-51")
def test_the_outputs_that_can_run_do_and_the_others_are_told(comfyui: Native) -> None:
    graph = {**tiny(), "4": node("SaveImage", filename_prefix="never")}
    answer = comfyui.post("/prompt", {"prompt": graph}).json()
    assert answer["node_errors"]["4"]["dependent_outputs"] == ["4"]
    entry = comfyui.entry(answer["prompt_id"])
    assert entry["status"]["status_str"] == "success"
    assert set(entry["outputs"]) == {"3"}
    assert entry["prompt"][4] == ["3"]


def test_only_the_outputs_that_are_asked_for_run(comfyui: Native) -> None:
    graph = {**tiny(), "4": save("1", "other")}
    entry = comfyui.run(graph, partial_execution_targets=["4"])
    assert set(entry["outputs"]) == {"4"}
    assert comfyui.refused(graph, partial_execution_targets=["1"])["error"]["type"] == "prompt_no_outputs"


def test_who_has_no_backend_is_told_so(acme: Tenant) -> None:
    body = Native(acme).refused(tiny())
    assert body["error"]["type"] == "no_backend"


def test_who_may_run_no_graphs_is_told_so(shop: Tenant) -> None:
    answer = shop.limited("jobs").raw("POST", "/prompt", json={"prompt": tiny()})
    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "scope_missing"


def test_a_repeat_under_the_same_idempotency_key_is_the_same_prompt(comfyui: Native) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = (comfyui.raw("POST", "/prompt", json={"prompt": tiny()}, headers=headers).json() for _ in range(2))
    assert first["prompt_id"] == again["prompt_id"]


# the queue


@pytest.mark.seed("S5-53", "S5-55")
def test_the_queue_shows_what_runs_and_what_waits_in_order(comfyui: Native) -> None:
    first = comfyui.queue(sleeping(30))
    comfyui.begun(first)
    waiting = [comfyui.queue(sleeping(30, color)) for color in (1, 2, 3)]
    front = comfyui.queue(sleeping(30, 4), front=True)
    queue = comfyui.get("/queue")
    assert [entry[1] for entry in queue["queue_running"]] == [first]
    pending = [entry[1] for entry in queue["queue_pending"]]
    assert sorted(pending) == sorted([*waiting, front])
    assert pending.index(front) < pending.index(waiting[2])
    assert comfyui.get("/prompt") == {"exec_info": {"queue_remaining": 5}}
    for number, _, graph, extra, outputs in queue["queue_pending"]:
        assert isinstance(number, int)
        assert graph["2"]["class_type"] == "TestSleep"
        assert "create_time" in extra
        assert outputs == ["3"]
    comfyui.post("/queue", {"delete": [waiting[2], first, "nobody"]})
    left = comfyui.get("/queue")
    assert first in [entry[1] for entry in left["queue_running"]], "what runs is not deleted"
    assert waiting[2] not in [entry[1] for entry in left["queue_pending"]]
    comfyui.post("/api/queue", {"clear": True})
    eventually(lambda: comfyui.get("/queue")["queue_pending"] == [])
    assert [entry[1] for entry in comfyui.get("/queue")["queue_running"]] == [first]
    comfyui.post("/interrupt")
    assert comfyui.entry(first)["status"]["messages"][-1][0] == "execution_interrupted"
    assert list(comfyui.get("/history")) == [first], "what was taken out of the queue never was in the history"


@pytest.mark.seed("S5-54")
def test_an_interrupt_stops_only_what_it_means_and_only_ones_own(comfyui: Native, other: Native) -> None:
    mine = comfyui.queue(sleeping(30, 5))
    comfyui.begun(mine)
    waiting = comfyui.queue(sleeping(0.0, 6))
    for meant in ({"prompt_id": waiting}, {"prompt_id": "nobody"}):
        comfyui.post("/interrupt", meant)
    other.post("/interrupt", {"prompt_id": mine})
    other.post("/interrupt")
    other.post("/queue", {"clear": True, "delete": [mine, waiting]})
    assert [entry[1] for entry in comfyui.get("/queue")["queue_running"]] == [mine]
    assert other.get("/queue") == {"queue_running": [], "queue_pending": []}
    comfyui.post("/api/interrupt", {"prompt_id": mine})
    assert comfyui.entry(mine)["status"]["status_str"] == "error"
    assert comfyui.entry(waiting)["status"]["status_str"] == "success"


@pytest.mark.seed("S5-20", "S5-49")
def test_freeing_memory_is_taken_and_disturbs_nobody(comfyui: Native, other: Native) -> None:
    running = comfyui.queue(slow(10, 0.05))
    assert other.post("/free", {"unload_models": True, "free_memory": True}).content == b""
    assert comfyui.entry(running)["status"]["status_str"] == "success"


@pytest.mark.seed("S5-20")
def test_memory_is_freed_on_a_tenants_own_backends(lone: tuple[Native, Sandbox]) -> None:
    comfyui, sandbox = lone
    computed = []
    for freed in ({}, {"unload_models": True}, {"free_memory": False}, {"free_memory": True}):
        comfyui.post("/free", freed)
        comfyui.run(tiny())
        computed.append(list(sandbox.records)[-1].nodes)
    assert computed == [["1", "2", "3"], [], [], ["1", "2", "3"]]
    assert comfyui.tenant.limited("jobs", "graphs").raw("POST", "/free", json={}).status_code == 403
    sandbox.set(reset_connections=True)
    comfyui.post("/free", {"free_memory": True})  # which no backend hears


def test_a_node_that_fails_is_told_in_the_history(comfyui: Native) -> None:
    entry = comfyui.run(failing("on purpose"))
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    kind, told = entry["status"]["messages"][-1]
    assert kind == "execution_error"
    assert (told["node_id"], told["node_type"]) == ("2", "TestFail")
    assert told["exception_message"].strip() == "on purpose"
    assert told["exception_type"] == "ValueError"
    assert told["traceback"]


def test_no_prompt_takes_the_id_of_another_job(comfyui: Native) -> None:
    running = comfyui.queue(sleeping(30, 11), prompt_id="mine")
    comfyui.begun(running)
    job = comfyui.queue(sleeping(30, 12))
    assert comfyui.post("/prompt", {"prompt": tiny(), "prompt_id": job}, 409).json()["error"]["type"] == "conflict"
    comfyui.post("/queue", {"clear": True})
    assert comfyui.get("/queue")["queue_pending"] == []
    own = comfyui.tenant.raw("GET", "/v1/prompts/history?limit=2").json()
    [job_id] = [one["id"] for one in own["data"] if one["id"] != job]
    comfyui.post("/interrupt", {"prompt_id": job_id})  # its other name
    assert comfyui.entry("mine")["status"]["messages"][-1][0] == "execution_interrupted"
