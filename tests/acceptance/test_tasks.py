"""Tasks and workers: the vocabulary of the tasks API, by its own document."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from comfyone.emulator import Sandbox
from tests.acceptance.conftest import Tenant
from tests.graphs import failing, node, save, sleeping, slow, speaking, text_to_image, tiny
from tests.support.gateway import GatewayProcess
from tests.support.pictures import opened
from tests.support.tasks import Tasks
from tests.support.v1 import V1
from tests.support.waiting import eventually
from tests.support.wire import Wire

NODE = shutil.which("node")
UNKNOWN = "01a200a3-0000-7df5-84e2-7ffc46735000"


@pytest.fixture
def tasks(shop: Tenant) -> Tasks:
    """A new tenant with one worker."""
    return Tasks(shop)


@pytest.fixture
def lone() -> Iterator[Sandbox]:
    """A sandbox of one's own, whose knobs may be turned."""
    with Sandbox() as running:
        yield running


# a task's life


@pytest.mark.seed("S3-9", "S3-12", "S3-21", "S3-23", "S3-26", "S3-28", "S3-38", "S3-48", "S3-54", "S3-55", "S3-65")
def test_a_graph_is_submitted_watched_and_its_result_stays_readable(tasks: Tasks) -> None:
    graph = tiny(color=0x336699)
    submitted = tasks.submit("text_to_image_v1", graph, 5)
    assert submitted["status"] in ("pending", "running")
    assert uuid.UUID(submitted["id"])
    assert (submitted["workflow_id"], submitted["priority"], submitted["payload"]) == ("text_to_image_v1", 5, graph)
    task = tasks.ended(submitted["id"])
    assert (task["status"], task["error"], task["retry_count"]) == ("completed", None, 0)
    assert (task["workflow_id"], task["payload"]) == ("text_to_image_v1", graph)
    times = [datetime.fromisoformat(task[name]) for name in ("created_at", "started_at", "completed_at")]
    assert times == sorted(times)
    (output,) = task["result"]["outputs"]
    assert task["result"]["images"] == [output["url"]]
    assert (output["node_id"], output["mime"]) == ("3", "image/png")
    content = tasks.download(output["url"])
    assert (len(content), opened(content).getpixel((5, 5))) == (output["size"], (0xCC, 0x99, 0x66))
    assert tasks.task(task["id"]) == task, "and is there the next time"
    assert task["worker_id"] in [worker["id"] for worker in tasks.get("/api/v1/workers")]


@pytest.mark.seed("S3-23", "S3-9")
def test_the_graph_of_the_documents_example_runs(acme: Tenant, lone: Sandbox) -> None:
    lone.scenario.checkpoints = ["flux1-dev-fp8.safetensors"]
    acme.register(lone.url)
    graph = text_to_image("beautiful scenery nature glass bottle landscape", seed=46588125086418, negative="watermark")
    graph["4"]["inputs"]["ckpt_name"] = "flux1-dev-fp8.safetensors"
    tasks = Tasks(acme)
    task = tasks.ended(tasks.submit("text_to_image_v1", graph, 5)["id"])
    assert (task["status"], len(task["result"]["images"])) == ("completed", 1)


def test_values_are_results_too(tasks: Tasks) -> None:
    task = tasks.ended(tasks.submit("say", speaking("hello"))["id"])
    (output,) = task["result"]["outputs"]
    assert output["value"] == "hello"
    assert "url" not in output
    assert task["result"]["images"] == []


@pytest.mark.seed("S3-27", "S3-33", "S3-34")
def test_a_running_task_is_seen_on_its_worker(tasks: Tasks) -> None:
    (idle,) = tasks.get("/api/v1/workers")
    assert (idle["status"], idle["current_task_id"]) == ("idle", None)
    task_id = tasks.submit("slow", slow(steps=400, seconds=0.05))["id"]
    running = tasks.reaches(task_id, "running")
    assert running["started_at"]
    assert (running["completed_at"], running["result"]) == (None, None)
    (worker,) = tasks.get("/api/v1/workers")
    assert (worker["status"], worker["current_task_id"]) == ("running", task_id)
    assert (worker["id"], running["worker_id"]) == (idle["id"], idle["id"])
    assert worker["last_active_at"] > idle["last_active_at"]
    assert tasks.cancel(task_id).status_code == 200


@pytest.mark.seed("S3-29", "S3-86")
def test_a_failed_prompt_is_a_failed_task_that_says_why(tasks: Tasks) -> None:
    task = tasks.ended(tasks.submit("broken", failing("the lamp is out"))["id"])
    assert task["status"] == "failed"
    assert "the lamp is out" in task["error"]
    assert "node 2, TestFail" in task["error"]
    assert task["result"] is None
    assert tasks.task(task["id"])["error"] == task["error"]


@pytest.mark.seed("S3-48")
def test_a_lost_worker_counts_as_a_retry(acme: Tenant, lone: Sandbox, sandbox: Sandbox) -> None:
    acme.register("first", url=lone.url)
    tasks = Tasks(acme)
    task_id = tasks.submit("slow", sleeping(60))["id"]
    tasks.reaches(task_id, "running")
    lone.stop_listening()
    acme.register("second", url=sandbox.url)
    acme.delete("/v1/backends/first")
    again = tasks.reaches(task_id, "running")
    assert again["retry_count"] == 1
    assert again["max_retries"] == 2, "three attempts in all, as the gateway is set"
    tasks.cancel(task_id)


# parameters


@pytest.fixture
def painter(shop: Tenant) -> Tasks:
    """A stored workflow with the eight inputs that the document's example has, none of them called as there."""
    names = {
        "seed": ("3", "number"), "steps": ("3", "number"), "cfg": ("3", "number"), "sampler_name": ("3", "string"),
        "scheduler": ("3", "string"), "width": ("5", "number"), "height": ("5", "number"),
    }  # fmt: skip
    inputs = [{"id": place, "type": kind, "name": name} for name, (place, kind) in names.items()]
    inputs += [{"id": each, "type": "string", "name": "text"} for each in ("6", "7")]
    shop.workflow(text_to_image("a dog", negative="cats"), inputs, ["9"], name="text_to_image_v1")
    return Tasks(shop)


def inputs_of(shop: Tenant, task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the task has set, as the other vocabulary tells it."""
    return dict(shop.status(task["id"])["inputs"])


@pytest.mark.seed("S3-24", "S3-25", "S3-20")
def test_flat_parameters_fill_the_stored_workflow(shop: Tenant, painter: Tasks) -> None:
    payload = {
        "prompt": "A beautiful landscape with mountains", "negative_prompt": "blurry, low quality", "steps": 2,
        "cfg_scale": 7.5, "width": 64, "height": 128, "seed": -1, "sampler": "DPM++ 2M Karras",
    }  # fmt: skip
    task = painter.ended(painter.submit("text_to_image_v1", payload, 5)["id"])
    assert (task["status"], task["workflow_id"], task["payload"]) == ("completed", "text_to_image_v1", payload)
    given = inputs_of(shop, task)
    seed = given["3"].pop("seed")
    assert 0 <= seed < 2**53
    assert given == {
        "3": {"steps": 2, "cfg": 7.5, "sampler_name": "dpmpp_2m", "scheduler": "karras"},
        "5": {"width": 64, "height": 128},
        "6": {"text": "A beautiful landscape with mountains"},
        "7": {"text": "blurry, low quality"},
    }
    other = inputs_of(shop, painter.submit("text_to_image_v1", payload))
    assert other["3"]["seed"] != seed, "another one each time"


@pytest.mark.seed("S3-24")
def test_without_parameters_the_workflow_runs_as_it_is(shop: Tenant, painter: Tasks) -> None:
    task = painter.ended(painter.submit("text_to_image_v1", {})["id"])
    assert (task["status"], task["payload"]) == ("completed", {})
    assert inputs_of(shop, task) == {}


@pytest.mark.seed("S3-24")
@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ({"depth": 3}, "depth"),
        ({"steps": "many"}, "steps"),
        ({"text": "which one?"}, "text"),
        ({"cfg": 1, "cfg_scale": 2}, "cfg_scale"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(painter: Tasks, payload: dict[str, Any], named: str) -> None:
    body = {"workflow_id": "text_to_image_v1", "payload": payload}
    refused = painter.refused(400, "POST", "/api/v1/tasks", json=body)
    assert refused["error"] == "Invalid request parameters"
    assert f"'{named}'" in refused["message"]
    assert painter.get("/api/v1/tasks")["tasks"] == []


@pytest.mark.seed("S3-24")
def test_an_unknown_workflow_and_anothers_look_the_same(tasks: Tasks, rival: Tenant) -> None:
    rival.workflow(tiny(), name="theirs")
    told = [
        tasks.refused(404, "POST", "/api/v1/tasks", json={"workflow_id": name, "payload": {"prompt": "x"}})
        for name in ("theirs", "absent")
    ]
    assert told[0]["message"].replace("theirs", "absent") == told[1]["message"]


# priorities


@pytest.mark.seed("S3-22", "S3-26", "S3-56")
def test_the_highest_priority_is_next_and_among_equals_the_first(acme: Tenant, lone: Sandbox) -> None:
    acme.register("one", url=lone.url)
    acme.patch("/v1/backends/one", {"state": "down"})
    tasks = Tasks(acme)
    order = [0, 5, 10, 0, 5, 10, 1]
    submitted = [tasks.submit("w", tiny(color=number), priority) for number, priority in enumerate(order)]
    ids = [task["id"] for task in submitted]
    unset = ("worker_id", "started_at", "completed_at", "result", "error")
    assert {task["status"] for task in submitted} == {"pending"}
    assert {task[name] for task in submitted for name in unset} == {None}
    assert [tasks.task(each)["priority"] for each in ids] == order
    acme.patch("/v1/backends/one", {"state": "up"})
    ended = [tasks.ended(each) for each in ids]
    ran = [task["id"] for task in sorted(ended, key=lambda task: task["started_at"])]
    assert ran == [ids[number] for number in (2, 5, 1, 4, 6, 0, 3)]


@pytest.mark.seed("S3-22")
@pytest.mark.parametrize("priority", [-1, 11, 1.5, "5", None, True])
def test_a_priority_out_of_range_is_refused(tasks: Tasks, priority: Any) -> None:
    body = {"workflow_id": "w", "payload": tiny(), "priority": priority}
    assert "priority" in tasks.refused(400, "POST", "/api/v1/tasks", json=body)["message"]


def test_without_a_priority_it_is_none(tasks: Tasks) -> None:
    answer = tasks.raw("POST", "/api/v1/tasks", json={"workflow_id": "w", "payload": tiny()})
    assert (answer.status_code, answer.json()["priority"]) == (201, 0)


# cancelling


@pytest.mark.seed("S3-13", "S3-30", "S3-85")
def test_a_cancelled_pending_task_holds_up_nobody(acme: Tenant, lone: Sandbox) -> None:
    acme.register("one", url=lone.url, state="down")
    tasks = Tasks(acme)
    first, second = (tasks.submit("w", tiny(), priority)["id"] for priority in (9, 0))
    answer = tasks.cancel(first)
    assert (answer.status_code, answer.json()) == (200, {"message": "Task cancelled successfully"})
    assert tasks.task(first)["status"] == "cancelled"
    acme.patch("/v1/backends/one", {"state": "up"})
    assert tasks.ended(second)["status"] == "completed"
    cancelled = tasks.task(first)
    assert (cancelled["status"], cancelled["started_at"], cancelled["result"]) == ("cancelled", None, None)
    assert len(lone.records) == 1, "it was never sent"


@pytest.mark.seed("S3-13", "S3-30", "S3-85")
def test_cancelling_a_running_task_stops_it_on_its_worker(acme: Tenant, lone: Sandbox) -> None:
    acme.register(lone.url)
    tasks = Tasks(acme)
    task_id = tasks.submit("w", sleeping(60))["id"]
    tasks.reaches(task_id, "running")
    assert tasks.cancel(task_id).status_code == 200
    assert tasks.task(task_id)["status"] == "cancelled", "when the answer comes it is over"
    assert [record.outcome for record in lone.records] == ["interrupted"]
    assert tasks.ended(tasks.submit("w", tiny())["id"])["status"] == "completed", "and the worker is free"


@pytest.mark.seed("S3-13", "S3-39")
@pytest.mark.parametrize(("graph", "status"), [(tiny(), "completed"), (failing(), "failed")])
def test_what_has_ended_is_not_cancelled(tasks: Tasks, graph: Any, status: str) -> None:
    task_id = tasks.submit("w", graph)["id"]
    assert tasks.ended(task_id)["status"] == status
    refused = tasks.refused(400, "DELETE", f"/api/v1/tasks/{task_id}")
    assert refused["message"] == f"Task cannot be cancelled: it is {status}"
    assert tasks.task(task_id)["status"] == status


# lists and counts


@pytest.mark.seed("S3-10", "S3-11")
def test_tasks_are_listed_by_status_newest_first(tasks: Tasks) -> None:
    assert tasks.get("/api/v1/tasks") == {"tasks": [], "count": 0}
    good, bad = tasks.submit("good", tiny())["id"], tasks.submit("bad", failing())["id"]
    tasks.ended(good)
    tasks.ended(bad)
    running = tasks.submit("slow", sleeping(60))["id"]
    tasks.reaches(running, "running")
    listed = tasks.get("/api/v1/tasks")
    assert [task["id"] for task in listed["tasks"]] == [running, bad, good]
    assert listed["count"] == 3
    assert listed["tasks"][2] == tasks.task(good), "each as it is told alone"
    for status, ids in (("running", [running]), ("completed", [good]), ("failed", [bad]), ("pending", [])):
        found = tasks.get(f"/api/v1/tasks?status={status}")
        assert ([task["id"] for task in found["tasks"]], found["count"]) == (ids, len(ids))
    page = tasks.get("/api/v1/tasks?limit=1&offset=1")
    assert ([task["id"] for task in page["tasks"]], page["count"]) == ([bad], 3), "counted are all"
    tasks.cancel(running)
    assert tasks.get("/api/v1/tasks?status=cancelled")["count"] == 1


@pytest.mark.seed("S3-11", "S3-39")
def test_a_status_that_is_none_is_refused(tasks: Tasks) -> None:
    told = tasks.refused(400, "GET", "/api/v1/tasks?status=finished")
    assert "completed" in told["message"]
    assert tasks.refused(400, "GET", "/api/v1/tasks?limit=0")
    assert tasks.refused(400, "GET", "/api/v1/tasks?offset=x")


@pytest.mark.seed("S3-17", "S3-52")
def test_the_queue_is_counted(tasks: Tasks) -> None:
    def counts() -> tuple[int, ...]:
        found = tasks.get("/api/v1/queue/metrics")
        names = ("pending", "running", "completed", "failed", "cancelled", "total")
        return tuple(found[f"{name}_tasks"] for name in names)

    assert counts() == (0, 0, 0, 0, 0, 0)
    for graph in (tiny(), tiny(), failing()):
        tasks.ended(tasks.submit("w", graph)["id"])
    running = tasks.submit("w", sleeping(60))["id"]
    tasks.reaches(running, "running")
    waiting = [tasks.submit("w", tiny())["id"] for _ in range(3)]
    assert counts() == (3, 1, 2, 1, 0, 7)
    tasks.cancel(waiting[0])
    tasks.cancel(running)
    for each in waiting[1:]:
        tasks.ended(each)
    assert counts() == (0, 0, 4, 1, 2, 7)


def test_jobs_of_the_other_vocabularies_are_tasks_too(shop: Tenant) -> None:
    shop.workflow(tiny(), [{"id": "1", "type": "number", "name": "width"}], name="w")
    job = shop.submit({"workflow_id": "w", "inputs": {"width": 32}})
    task = Tasks(shop).ended(job)
    assert (task["status"], task["payload"]) == ("completed", {"1": {"width": 32}})
    assert task["workflow_id"] == shop.get("/v1/workflows/w").data["id"]


# workers


@pytest.mark.seed("S3-14", "S3-15", "S3-49", "S3-50", "S3-56", "S3-60")
def test_workers_are_the_backends(acme: Tenant, sandbox: Sandbox) -> None:
    labels = {"cpu": "2", "memory": "4Gi", "gpu": "1"}
    acme.register("gpu-1", url=sandbox.url, labels=labels)
    acme.register("gpu-2", url=sandbox.url)
    tasks = Tasks(acme)
    workers = tasks.get("/api/v1/workers")
    assert isinstance(workers, list)
    assert [worker["pod_name"] for worker in workers] == ["gpu-1", "gpu-2"]
    first = workers[0]
    assert uuid.UUID(first["id"])
    assert (first["endpoint"], first["port"]) == (sandbox.url, int(sandbox.url.rpartition(":")[2]))
    assert (first["status"], first["health_status"], first["resources"]) == ("idle", True, labels)
    assert workers[1]["resources"] == {"cpu": "unknown", "memory": "unknown", "gpu": None}
    for name in ("created_at", "started_at", "last_active_at", "last_health_check"):
        assert abs(datetime.fromisoformat(first[name]).timestamp() - time.time()) < 60
    assert tasks.get(f"/api/v1/workers/{first['id']}")["pod_name"] == "gpu-1"


@pytest.mark.seed("S3-31", "S3-34", "S3-35", "S3-36", "S3-16", "S3-51")
def test_the_words_for_workers_and_how_many_there_are_of_each(acme: Tenant, sandbox: Sandbox, lone: Sandbox) -> None:
    tasks = Tasks(acme)
    acme.register("off", url=sandbox.url, state="down")
    acme.register("leaving", url=sandbox.url)
    acme.patch("/v1/backends/leaving", {"state": "draining"})
    acme.register("dead", url=lone.url)
    acme.register("well", url=sandbox.url)
    lone.stop_listening()

    def words() -> dict[str, str]:
        return {worker["pod_name"]: worker["status"] for worker in tasks.get("/api/v1/workers")}

    expected = {"off": "pending", "leaving": "terminating", "dead": "failed", "well": "idle"}
    eventually(lambda: words() == expected)
    dead = next(worker for worker in tasks.get("/api/v1/workers") if worker["pod_name"] == "dead")
    assert dead["health_status"] is False
    metrics = tasks.get("/api/v1/workers/metrics")
    assert metrics == {
        "total_workers": 4, "pending_workers": 1, "starting_workers": 0, "running_workers": 0,
        "idle_workers": 1, "terminating_workers": 1, "failed_workers": 1,
    }  # fmt: skip


@pytest.mark.seed("S3-32")
def test_a_worker_of_which_nothing_is_known_yet_is_starting(tmp_path: Path, lone: Sandbox) -> None:
    with GatewayProcess(tmp_path / "state") as gateway:
        v1 = V1(gateway.url, gateway.key())
        v1.register(lone.url)
        gateway.stop()
        lone.set(slow_requests={"/ws": 4.0})
        gateway.start()
        tasks = Tasks(v1)
        (worker,) = tasks.get("/api/v1/workers")
        assert (worker["status"], worker["health_status"], worker["started_at"]) == ("starting", False, None)
        assert tasks.get("/api/v1/workers/metrics")["starting_workers"] == 1
        eventually(lambda: tasks.get("/api/v1/workers")[0]["status"] == "idle")
        v1.close()


def test_of_a_shared_worker_a_tenant_sees_neither_where_it_is_nor_who_else_is_there(
    tmp_path: Path, lone: Sandbox
) -> None:
    """On a gateway of its own: what others have left waiting would be run on a shared worker too."""
    with (
        GatewayProcess(tmp_path / "state") as gateway,
        closing(Tenant(gateway)) as acme,
        closing(Tenant(gateway)) as rival,
    ):
        with closing(V1(gateway.url, gateway.key("operator", scopes=["admin", "jobs"]))) as operator:
            operator.post("/admin/v1/backends", {"name": "shared", "url": lone.url})
        theirs = Tasks(rival)
        task_id = theirs.submit("slow", sleeping(60))["id"]
        theirs.reaches(task_id, "running")
        (mine,) = Tasks(acme).get("/api/v1/workers")
        assert (mine["status"], mine["current_task_id"], mine["endpoint"], mine["port"]) == ("idle", None, "", 0)
        assert mine["last_active_at"] == mine["created_at"]
        (seen,) = theirs.get("/api/v1/workers")
        assert (seen["status"], seen["current_task_id"]) == ("running", task_id)
        theirs.cancel(task_id)


# errors


@pytest.mark.seed("S3-43", "S3-44", "S3-20", "S3-39", "S3-53")
@pytest.mark.parametrize(
    "body", [{"payload": {}}, {"workflow_id": "", "payload": {}}, {"workflow_id": "  ", "payload": {}}]
)
def test_a_task_needs_a_workflow_id(tasks: Tasks, body: dict[str, Any]) -> None:
    told = tasks.refused(400, "POST", "/api/v1/tasks", json=body)
    assert told == {"error": "Invalid request parameters", "code": 400, "message": "workflow_id is required"}


@pytest.mark.seed("S3-21", "S3-43")
@pytest.mark.parametrize("body", [{}, {"payload": None}, {"payload": []}, {"payload": "x"}, {"payload": 7}])
def test_a_task_needs_a_payload_that_is_an_object(tasks: Tasks, body: dict[str, Any]) -> None:
    told = tasks.refused(400, "POST", "/api/v1/tasks", json={"workflow_id": "w", **body})
    assert told["message"].startswith("payload")


@pytest.mark.seed("S3-43", "S3-45", "S3-40")
@pytest.mark.parametrize("task_id", [UNKNOWN, "nothing", "%2e%2e", "x" * 500])
def test_an_unknown_task_is_not_found(tasks: Tasks, task_id: str) -> None:
    told = [tasks.refused(404, method, f"/api/v1/tasks/{task_id}") for method in ("GET", "DELETE")]
    assert told == [{"error": "Resource not found", "code": 404, "message": "Task not found"}] * 2
    unknown = tasks.refused(404, "GET", f"/api/v1/workers/{task_id}")
    assert unknown == {"error": "Resource not found", "code": 404, "message": "Worker not found"}


def test_anothers_task_and_worker_look_like_unknown_ones(tasks: Tasks, rival: Tenant, sandbox: Sandbox) -> None:
    rival.register("their-gpu", url=sandbox.url)
    theirs = Tasks(rival)
    task_id = theirs.submit("w", sleeping(60))["id"]
    theirs.reaches(task_id, "running")
    (worker,) = theirs.get("/api/v1/workers")
    for method, path in (
        ("GET", f"/api/v1/tasks/{task_id}"),
        ("DELETE", f"/api/v1/tasks/{task_id}"),
        ("GET", f"/api/v1/workers/{worker['id']}"),
    ):
        absent = tasks.refused(404, method, re.sub(r"[^/]+$", UNKNOWN, path))
        assert tasks.refused(404, method, path) == absent
    assert tasks.get("/api/v1/tasks")["count"] == 0
    assert tasks.get("/api/v1/queue/metrics")["total_tasks"] == 0
    assert theirs.task(task_id)["status"] == "running"
    theirs.cancel(task_id)


@pytest.mark.seed("S3-43")
@pytest.mark.parametrize(
    ("method", "path", "status", "options"),
    [
        ("GET", "/api/v1", 404, {}),
        ("GET", "/api/v1/nothing", 404, {}),
        ("GET", "/api/v1/tasks/a/b", 404, {}),
        ("GET", "/health/more", 404, {}),
        ("PUT", "/api/v1/tasks", 405, {}),
        ("POST", "/api/v1/workers/metrics", 405, {}),
        ("POST", "/health", 405, {}),
        ("DELETE", "/ready", 405, {}),
        ("POST", "/api/v1/tasks", 400, {"data": b"{broken"}),
        ("POST", "/api/v1/tasks", 400, {"data": b"[]"}),
        ("POST", "/api/v1/tasks", 400, {"data": b"\xff"}),
        ("POST", "/api/v1/tasks", 400, {"data": b""}),
    ],
)
def test_what_no_handler_sees_is_refused_in_the_same_shape(
    tasks: Tasks, method: str, path: str, status: int, options: dict[str, Any]
) -> None:
    told = tasks.refused(status, method, path, **options)
    kinds = {400: "Invalid request parameters", 404: "Resource not found", 405: "Method not allowed"}
    assert told["error"] == kinds[status]


@pytest.mark.seed("S3-43")
def test_without_a_key_everything_but_health_is_refused(acme: Tenant) -> None:
    for key in (None, "co_wrong"):
        nobody = Tasks(V1(acme.url, key))
        for method, path in (
            ("POST", "/api/v1/tasks"),
            ("GET", "/api/v1/tasks"),
            ("GET", f"/api/v1/tasks/{UNKNOWN}"),
            ("DELETE", f"/api/v1/tasks/{UNKNOWN}"),
            ("GET", "/api/v1/workers"),
            ("GET", f"/api/v1/workers/{UNKNOWN}"),
            ("GET", "/api/v1/workers/metrics"),
            ("GET", "/api/v1/queue/metrics"),
        ):
            response = nobody.raw(method, path)
            assert (response.status_code, response.json()["error"]) == (401, "Unauthorized")
            assert response.headers["WWW-Authenticate"]
    few = Tasks(acme.limited("workflows"))
    assert few.refused(403, "GET", "/api/v1/tasks")["error"] == "Forbidden"
    no_graphs = Tasks(acme.limited("jobs"))
    body = {"workflow_id": "w", "payload": tiny()}
    assert "graphs" in no_graphs.refused(403, "POST", "/api/v1/tasks", json=body)["message"]


@pytest.mark.seed("S3-43", "S3-42")
def test_without_a_worker_the_service_is_unavailable(acme: Tenant) -> None:
    told = Tasks(acme).refused(503, "POST", "/api/v1/tasks", json={"workflow_id": "w", "payload": tiny()})
    assert told["error"] == "Service unavailable"


@pytest.mark.seed("S3-43", "S3-70")
def test_a_full_queue_says_when_to_come_back(tmp_path: Any, sandbox: Sandbox) -> None:
    with GatewayProcess(tmp_path / "state", "--max-queued", "2", "--max-body", "4096") as gateway:
        v1 = V1(gateway.url, gateway.key())
        v1.register("off", url=sandbox.url, state="down")
        tasks = Tasks(v1)
        for _ in range(2):
            tasks.submit("w", tiny())
        response = tasks.raw("POST", "/api/v1/tasks", json={"workflow_id": "w", "payload": tiny()})
        assert (response.status_code, response.json()["error"]) == (429, "Too many requests")
        assert int(response.headers["Retry-After"]) >= 1
        long = tasks.refused(413, "POST", "/api/v1/tasks", json={"workflow_id": "w", "payload": {"x": "y" * 5000}})
        assert long["error"] == "Payload too large"
        v1.close()


@pytest.mark.seed("S3-23", "S3-39")
@pytest.mark.parametrize(
    "payload",
    [
        {"1": {"class_type": "EmptyImage"}},
        {"1": {"class_type": "EmptyImage", "inputs": {}}, "2": 3},
        {"1": node("EmptyImage"), "2": save("9")},
    ],
)
def test_a_graph_that_is_none_is_refused(tasks: Tasks, payload: Any) -> None:
    assert tasks.refused(400, "POST", "/api/v1/tasks", json={"workflow_id": "w", "payload": payload})["message"]


def test_a_list_of_large_payloads_is_cut_and_still_counts_all(tmp_path: Path, sandbox: Sandbox) -> None:
    with GatewayProcess(tmp_path / "state") as gateway:
        v1 = V1(gateway.url, gateway.key())
        v1.register("off", url=sandbox.url, state="down")
        tasks = Tasks(v1)
        graph = {**tiny(), "4": speaking("x" * 12_000_000)["1"]}
        ids = [tasks.submit("w", graph)["id"] for _ in range(4)]
        first = tasks.get("/api/v1/tasks")
        assert ([task["id"] for task in first["tasks"]], first["count"]) == (ids[:0:-1], 4)
        rest = tasks.get("/api/v1/tasks?offset=3")
        assert ([task["id"] for task in rest["tasks"]], rest["count"]) == (ids[:1], 4)
        v1.close()


@pytest.mark.parametrize("query", ["limit=9" + "9" * 30, "offset=9" + "9" * 30, "offset=" + "9" * 5000])
def test_numbers_beyond_all_counts_break_nothing(tasks: Tasks, query: str) -> None:
    assert tasks.raw("GET", f"/api/v1/tasks?{query}").status_code in (200, 400)


@pytest.mark.parametrize("body", [
    b'{"workflow_id": "\\ud800", "payload": {}}', b'{"workflow_id": "a\\u0000b", "payload": {"prompt": "x"}}',
    b'{"workflow_id": "w", "payload": {"1": {"class_type": 1}}}', b'{"workflow_id": "w", "payload": {"": {"class_type": ""}}}',
    b'{"workflow_id": "w", "payload": {"\\udfff": 1}}', b'{"workflow_id": "w", "payload": ' + b'{"a":' * 2000 + b"1" + b"}" * 2001,
])  # fmt: skip
def test_odd_bodies_are_refused_and_break_nothing(tasks: Tasks, body: bytes) -> None:
    assert tasks.raw("POST", "/api/v1/tasks", data=body).status_code in (400, 404)


def test_a_repeat_under_the_same_key_is_the_same_task(tasks: Tasks) -> None:
    body, headers = {"workflow_id": "w", "payload": tiny()}, {"Idempotency-Key": "once"}
    first, again = (tasks.raw("POST", "/api/v1/tasks", json=body, headers=headers) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert tasks.refused(400, "POST", "/api/v1/tasks", json={**body, "priority": 3}, headers=headers)
    assert tasks.get("/api/v1/tasks")["count"] == 1


# the service


@pytest.mark.seed("S3-18", "S3-19", "S3-37", "S3-7")
def test_health_and_readiness_need_no_key(acme: Tenant) -> None:
    nobody = Tasks(V1(acme.url, None))
    for path, status in (("/health", "ok"), ("/ready", "ready")):
        found = nobody.get(path)
        assert found["status"] == status
        assert abs(datetime.fromisoformat(found["timestamp"]).timestamp() - time.time()) < 60


@pytest.mark.seed("S3-19", "S3-42", "S3-46", "S3-43")
def test_a_gateway_that_cannot_keep_what_it_accepts_is_not_ready(tmp_path: Any) -> None:
    from comfyone.gateway.app import database_path
    from comfyone.gateway.storage.sqlite import connect

    with GatewayProcess(tmp_path / "state") as gateway:
        nobody = Tasks(V1(gateway.url, None))
        connection = connect(database_path(gateway.state))
        try:
            connection.execute("BEGIN IMMEDIATE")  # as a stuck backup would
            time.sleep(1.1)  # what was found a moment ago is over
            response = nobody.raw("GET", "/ready")
            told = {"error": "Service unavailable", "code": 503, "message": "Service is not ready"}
            assert (response.status_code, response.json()) == (503, told)
            assert response.headers["Retry-After"]
            assert nobody.get("/health")["status"] == "ok", "it lives all the same"
        finally:
            connection.execute("ROLLBACK")
            connection.close()
        eventually(lambda: nobody.raw("GET", "/ready").status_code == 200)


@pytest.mark.seed("S3-43", "S3-41")
def test_what_fails_inside_is_told_in_the_same_shape(tmp_path: Path) -> None:
    from comfyone.gateway.app import database_path
    from comfyone.gateway.storage.sqlite import connect

    with GatewayProcess(tmp_path / "state") as gateway:
        v1 = V1(gateway.url, gateway.key())
        with closing(connect(database_path(gateway.state))) as connection:
            connection.execute("DROP TABLE job_tasks")
        told = Tasks(v1).refused(500, "GET", "/api/v1/tasks")
        assert told == {"error": "Internal server error", "code": 500, "message": "the gateway failed"}
        assert "job_tasks" in gateway.log(), "the operator is told more"
        v1.close()


# the sample clients


class ComfyLessClient:
    """The calls of the documented Python client; a session carries the key, which its own server never asked for."""

    def __init__(self, session: requests.Session, base_url: str = "http://localhost:8080") -> None:
        self.base_url = base_url
        self._session = session

    def submit_task(self, workflow_id: str, payload: Any, priority: int = 0) -> Any:
        data = {"workflow_id": workflow_id, "priority": priority, "payload": payload}
        return self._session.post(f"{self.base_url}/api/v1/tasks", json=data, timeout=30).json()

    def get_task(self, task_id: str) -> Any:
        return self._session.get(f"{self.base_url}/api/v1/tasks/{task_id}", timeout=30).json()

    def list_workers(self) -> Any:
        return self._session.get(f"{self.base_url}/api/v1/workers", timeout=30).json()


@pytest.mark.seed("S3-57", "S3-58", "S3-59", "S3-60", "S3-65", "S3-6")
def test_the_documented_client_polls_a_task_to_its_end(shop: Tenant, painter: Tasks) -> None:
    with requests.Session() as session:
        session.headers["X-API-Key"] = shop.secret
        client = ComfyLessClient(session, base_url=shop.url)
        task = client.submit_task(
            workflow_id="text_to_image_v1", payload={"prompt": "A beautiful landscape", "steps": 2}, priority=5
        )
        eventually(lambda: client.get_task(task["id"])["status"] == "completed")
        assert client.get_task(task["id"])["result"]["images"]
        assert client.list_workers()[0]["status"] in ("idle", "running")


def test_whoever_can_set_no_header_puts_the_key_into_the_base_url(shop: Tenant, painter: Tasks) -> None:
    with requests.Session() as session:
        client = ComfyLessClient(session, base_url=f"{shop.url}/k/{shop.secret}")
        task = client.submit_task("text_to_image_v1", {"prompt": "A beautiful landscape", "steps": 2})
        assert client.get_task(task["id"])["id"] == task["id"]
        url = painter.ended(task["id"])["result"]["images"][0]
        assert session.get(client.base_url + url, timeout=30).headers["content-type"] == "image/png"


def test_many_poll_at_once(tasks: Tasks) -> None:
    ids = [tasks.submit("w", tiny(color=number))["id"] for number in range(8)]
    ended: list[str] = []

    def poll(task_id: str) -> None:
        ended.append(tasks.ended(task_id)["status"])

    threads = [threading.Thread(target=poll, args=(task_id,)) for task_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["completed"] * 8


JAVASCRIPT = """
class ComfyLessClient {
  constructor(baseUrl = 'http://localhost:8080') { this.baseUrl = baseUrl }
  async call(path, options) { return (await fetch(this.baseUrl + '/api/v1/' + path, options)).json() }
  submitTask(workflowId, payload, priority = 0) {
    const body = JSON.stringify({ workflow_id: workflowId, priority, payload })
    return this.call('tasks', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
  }
  getTask(taskId) { return this.call('tasks/' + taskId) }
  listWorkers() { return this.call('workers') }
}
const client = new ComfyLessClient(process.argv[2])
const submitted = await client.submitTask('text_to_image_v1', { prompt: 'A beautiful landscape', steps: 2 }, 5)
let task = submitted
while (!['completed', 'failed', 'cancelled'].includes(task.status)) {
  await new Promise((wake) => setTimeout(wake, 50))
  task = await client.getTask(submitted.id)
}
console.log(JSON.stringify({ submitted, task, workers: await client.listWorkers() }))
"""
"""The calls of the documented JavaScript client."""


@pytest.mark.seed("S3-61", "S3-62", "S3-63", "S3-64", "S3-65")
@pytest.mark.skipif(NODE is None, reason="needs node")
def test_the_documented_javascript_client_polls_a_task_to_its_end(shop: Tenant, painter: Tasks, tmp_path: Path) -> None:
    program = tmp_path / "client.mjs"
    program.write_text(JAVASCRIPT)
    command = [str(NODE), str(program), f"{shop.url}/k/{shop.secret}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.replace(shop.secret, "KEY")
    told = json.loads(done.stdout)
    assert told["task"]["id"] == told["submitted"]["id"]
    assert (told["task"]["status"], told["task"]["priority"]) == ("completed", 5)
    assert [worker["id"] for worker in told["workers"]] == [told["task"]["worker_id"]]


# what the document advises


@pytest.mark.seed("S3-72")
def test_long_answers_are_compressed_for_whoever_takes_that(tasks: Tasks) -> None:
    payload = {"3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x" * 90_000}}}
    payload["1"] = tiny()["1"]
    tasks.submit("w", payload)
    for path, shrinks in (("/api/v1/tasks", True), ("/api/v1/openapi.yaml", True), ("/health", False)):
        plain = tasks.raw("GET", path, headers={"Accept-Encoding": "identity"})
        small = tasks.raw("GET", path, headers={"Accept-Encoding": "deflate;q=1, gzip;q=0.5"})
        never = tasks.raw("GET", path, headers={"Accept-Encoding": "gzip;q=0"})
        assert "Content-Encoding" not in plain.headers
        assert "Content-Encoding" not in never.headers
        assert (small.headers.get("Content-Encoding") == "gzip") is shrinks
        assert (small.headers.get("Vary") == plain.headers.get("Vary") == "Accept-Encoding") is shrinks
        assert (int(small.headers["Content-Length"]) < int(plain.headers["Content-Length"])) is shrinks
    assert tasks.get("/api/v1/tasks")["tasks"][0]["payload"] == payload


@pytest.mark.seed("S3-73")
def test_a_result_is_fetched_once_and_then_only_asked_after(shop: Tenant, tasks: Tasks) -> None:
    task = tasks.ended(tasks.submit("w", tiny())["id"])
    first = shop.raw("GET", task["result"]["images"][0])
    assert first.headers["Cache-Control"]
    again = shop.raw("GET", task["result"]["images"][0], headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.seed("S3-69")
def test_connections_are_kept_on_both_sides(acme: Tenant, lone: Sandbox) -> None:
    acme.register(lone.url)
    tasks = Tasks(acme)
    with Wire(acme.url, acme.secret) as wire:  # one connection, many requests
        for _ in range(3):
            wire.head("GET", "/api/v1/workers")
            assert wire.answer()[0] == 200
    for _ in range(3):
        tasks.ended(tasks.submit("w", tiny())["id"])
    assert lone.sockets_opened == 1, "and one socket to the worker for all tasks"
