"""The document of tasks and workers: shipped, served, and the same as what is served, in both directions."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import pytest
import yaml

from comfyone.gateway.dialects.tasks_v1 import document
from comfyone.gateway.dialects.tasks_v1.routes import TASK_ROUTES
from scripts.tasks_openapi import texts
from tests.acceptance.conftest import Tenant
from tests.graphs import tiny
from tests.support.tasks import DOCUMENT, Tasks
from tests.support.v1 import V1

OPERATIONS = {
    "submitTask": ("post", "/api/v1/tasks", {"201", "400", "500"}),
    "listTasks": ("get", "/api/v1/tasks", {"200", "500"}),
    "getTask": ("get", "/api/v1/tasks/{id}", {"200", "404"}),
    "cancelTask": ("delete", "/api/v1/tasks/{id}", {"200", "400", "404"}),
    "listWorkers": ("get", "/api/v1/workers", {"200", "500"}),
    "getWorker": ("get", "/api/v1/workers/{id}", {"200", "404"}),
    "getWorkerMetrics": ("get", "/api/v1/workers/metrics", {"200"}),
    "getQueueMetrics": ("get", "/api/v1/queue/metrics", {"200"}),
    "healthCheck": ("get", "/health", {"200"}),
    "readinessCheck": ("get", "/ready", {"200", "503"}),
}
"""What the original promises: method, path, and the statuses that it names."""

FIELDS = {
    "SubmitTaskRequest": "workflow_id payload priority",
    "TaskResponse": (
        "id workflow_id status priority payload worker_id created_at started_at completed_at result error retry_count "
        "max_retries"
    ),
    "WorkerResponse": (
        "id pod_name status endpoint port current_task_id created_at started_at last_active_at last_health_check "
        "health_status resources"
    ),
    "ResourceSpec": "cpu memory gpu",
    "WorkerMetrics": (
        "total_workers pending_workers starting_workers running_workers idle_workers terminating_workers failed_workers"
    ),
    "QueueMetrics": "pending_tasks running_tasks completed_tasks failed_tasks total_tasks cancelled_tasks",
    "ErrorResponse": "error code message",
}
NULLABLE = {
    "TaskResponse": {"worker_id", "started_at", "completed_at", "result", "error"},
    "WorkerResponse": {"current_task_id", "started_at"},
    "ResourceSpec": {"gpu"},
}


@pytest.mark.seed("S3-1", "S3-2")
@pytest.mark.parametrize(("name", "text"), texts().items())
def test_the_shipped_document_is_what_the_routes_say(name: str, text: str) -> None:
    shipped = files("comfyone.gateway.dialects.tasks_v1").joinpath(name).read_text(encoding="utf-8")
    assert shipped == text, "run python -m scripts.tasks_openapi"


@pytest.mark.seed("S3-1", "S3-2", "S3-8", "S3-74")
def test_both_files_are_served_to_everybody_and_say_the_same(acme: Tenant) -> None:
    nobody = V1(acme.url, None)
    as_json = nobody.raw("GET", "/api/v1/openapi.json")
    as_yaml = nobody.raw("GET", "/api/v1/openapi.yaml")
    assert as_json.headers["content-type"] == "application/json"
    assert as_yaml.headers["content-type"].startswith("application/yaml")
    assert as_json.json() == yaml.safe_load(as_yaml.text) == document.tasks_document() == DOCUMENT
    assert re.fullmatch(r"1\.\d+\.\d+", DOCUMENT["info"]["version"])


@pytest.mark.seed("S3-3", "S3-4", "S3-5", "S3-6", "S3-75")
def test_it_is_openapi_of_the_version_that_its_readers_know() -> None:
    assert DOCUMENT["openapi"] == "3.0.3"
    assert DOCUMENT["servers"] == [{"url": "http://localhost:8080"}]
    assert DOCUMENT["info"]["license"]["name"] == "MIT"
    text = json.dumps(DOCUMENT)
    for newer in ('"null"', '"const"', '"type": ["', '"$defs"', '"prefixItems"', '"identifier"'):
        assert newer not in text
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert referred == DOCUMENT["components"]["schemas"].keys()
    for schema in DOCUMENT["components"]["schemas"].values():
        assert schema["type"] in ("object", "string")


@pytest.mark.seed("S3-9", "S3-10", "S3-12", "S3-13", "S3-14", "S3-15", "S3-16", "S3-17", "S3-18", "S3-19")
def test_it_has_the_operations_of_the_original_and_no_other() -> None:
    described = {
        operation["operationId"]: (method, path, operation["responses"].keys())
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
    }
    assert described.keys() == OPERATIONS.keys()
    for name, (method, path, statuses) in OPERATIONS.items():
        assert described[name][:2] == (method, path)
        assert statuses <= described[name][2]
    routes = {(route.method.lower(), route.path) for route in TASK_ROUTES}
    assert routes == {(method, path) for method, path, _ in OPERATIONS.values()}


@pytest.mark.seed("S3-47", "S3-48", "S3-49", "S3-50", "S3-51", "S3-52", "S3-53", "S3-54", "S3-55", "S3-56")
@pytest.mark.parametrize("name", FIELDS)
def test_its_records_have_the_fields_of_the_original(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    assert schema["properties"].keys() == set(FIELDS[name].split())
    nullable = {field for field, part in schema["properties"].items() if part.get("nullable")}
    assert nullable == NULLABLE.get(name, set())
    for field, part in schema["properties"].items():
        if field.endswith("_at") or field == "last_health_check":
            assert part["format"] == "date-time"
        if field == "id" or field.endswith(("worker_id", "task_id")):
            assert part["format"] == "uuid"


@pytest.mark.seed("S3-22", "S3-47")
def test_a_submission_is_described_with_its_bounds() -> None:
    schema = DOCUMENT["components"]["schemas"]["SubmitTaskRequest"]
    assert sorted(schema["required"]) == ["payload", "workflow_id"]
    priority = {"type": "integer", "default": 0, "minimum": 0, "maximum": 10}
    assert schema["properties"]["priority"] == priority
    assert schema["properties"]["payload"] == {"type": "object"}


@pytest.mark.seed("S3-26", "S3-31")
def test_the_words_for_states_are_all_there() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["TaskStatus"]["enum"]) == {"pending", "running", "completed", "failed", "cancelled"}
    words = {"pending", "starting", "running", "idle", "terminating", "failed"}
    assert set(schemas["WorkerStatus"]["enum"]) == words


def test_every_operation_answers_as_it_is_described(shop: Tenant) -> None:
    """What `Tasks` checks of each answer, for every operation and the faults that are easily met."""
    tasks = Tasks(shop)
    task_id = tasks.submit("w", tiny())["id"]
    tasks.ended(task_id)
    tasks.cancel(task_id)
    tasks.raw("DELETE", "/api/v1/tasks/nothing")
    tasks.raw("GET", "/api/v1/tasks/nothing")
    tasks.raw("POST", "/api/v1/tasks", json={})
    tasks.get("/api/v1/tasks")
    tasks.raw("GET", "/api/v1/tasks?status=x")
    (worker,) = tasks.get("/api/v1/workers")
    tasks.get(f"/api/v1/workers/{worker['id']}")
    tasks.raw("GET", "/api/v1/workers/nothing")
    for path in ("/api/v1/workers/metrics", "/api/v1/queue/metrics", "/health", "/ready"):
        tasks.get(path)
    second = tasks.submit("w", tiny())["id"]
    tasks.cancel(second)
    succeeded = {(method, path) for method, path, status in tasks.seen if status in ("200", "201")}
    missing = {(method, path) for method, path, _ in OPERATIONS.values()} - succeeded
    assert missing <= {("delete", "/api/v1/tasks/{id}")}, "a quick task may have ended before it was cancelled"
    nobody = Tasks(V1(shop.url, None))
    for method, path, _ in OPERATIONS.values():
        nobody.raw(method.upper(), path.replace("{id}", task_id))
    refused = {(method, path) for method, path, status in nobody.seen if status == "401"}
    assert len(refused) == len(OPERATIONS) - 2


def test_a_body_that_is_described_is_taken(shop: Tenant) -> None:
    tasks: Any = Tasks(shop)
    body = {"workflow_id": "w", "payload": tiny(), "priority": 10, "more": "is left alone"}
    assert tasks.raw("POST", "/api/v1/tasks", json=body).status_code == 201
