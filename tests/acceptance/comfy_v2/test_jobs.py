"""Jobs of Comfy API v2, over raw HTTP."""

from __future__ import annotations

import json
import time
import uuid
from copy import deepcopy
from typing import Any

import pytest
import requests

from comfyone.emulator.machine import Answer as MachineAnswer
from comfyone.emulator.machine import Machine
from tests.acceptance.comfy_v2.speech import V2, hash_of, reference
from tests.acceptance.conftest import Tenant
from tests.acceptance.engine.conftest import MakeLab
from tests.graphs import (
    CHECKPOINT,
    empty,
    failing,
    invert_upload,
    node,
    save,
    sleeping,
    slow,
    speaking,
    text_to_image,
    tiny,
)
from tests.support.gateway import GatewayProcess
from tests.support.pictures import opened, png
from tests.support.waiting import eventually


def test_a_job_is_a_whole_record_from_its_birth_to_its_end(v2: V2) -> None:
    born = v2.submit(tiny(), metadata={"client": "acme"})
    assert born["status"] in ("queued", "running")
    assert born["error"] is None
    assert born["metadata"] == {"client": "acme"}
    ended = v2.reaches(born["id"], "succeeded")
    assert ended["created_at"] == born["created_at"]
    assert ended["started_at"] <= ended["completed_at"] < ended["expires_at"]
    assert ended["queue_position"] is None
    assert ended["progress"] is None
    assert ended["metrics"].keys() == {"queue_ms", "execution_ms"}
    assert all(type(value) is int for value in ended["metrics"].values())
    assert "priority" not in ended
    [output] = ended["outputs"]
    content = v2.content(output["id"]).content
    assert opened(content).size == (64, 64)
    assert (output["node_id"], output["type"], output["content_type"]) == ("3", "image", "image/png")
    assert (output["size_bytes"], output["hash"], output["job_id"]) == (len(content), hash_of(content), born["id"])
    assert output["name"].startswith("tiny")
    assert requests.get(output["url"], headers={"Authorization": f"Bearer {v2.key}"}, timeout=10).content == content
    assert v2.job(born["id"])["outputs"] == ended["outputs"], "stable over polls"


def test_links_of_a_job_lead_back_with_the_same_key(v2: V2) -> None:
    job = v2.submit(slow(40))
    root = v2.base
    assert v2.session.get(root + job["urls"]["self"], timeout=10).json()["id"] == job["id"]
    assert v2.session.post(root + job["urls"]["cancel"], timeout=10).json()["status"] in ("canceling", "canceled")
    with v2.session.get(root + job["urls"]["events"], stream=True, timeout=10) as stream:
        assert stream.status_code == 200


def test_a_text_is_an_output_like_a_file(v2: V2) -> None:
    [output] = v2.run(speaking("für alle"))["outputs"]
    assert output["type"] == "text"
    assert output["name"].endswith(".txt")
    answer = v2.content(output["id"])
    assert answer.content.decode() == "für alle"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert output["size_bytes"] == len(answer.content)
    assert output["hash"] == hash_of(answer.content)
    assert v2.content(output["id"], "0-1").content == b"f\xc3"
    assert v2.get(f"/assets/{output['id']}").given()["job_id"] == output["job_id"]


def test_a_job_that_fails_says_which_node_and_why(v2: V2) -> None:
    job = v2.run(failing("no luck"))
    assert job["status"] == "failed"
    assert job["outputs"] == []
    error = job["error"]
    assert error["code"] == "node_execution_error"
    assert "no luck" in error["message"]
    assert (error["node_id"], error["class_type"]) == ("2", "TestFail")
    assert isinstance(error["traceback"], str)
    assert "ValueError" in error["traceback"] or "no luck" in error["traceback"]


def test_progress_tells_nodes_steps_and_class_and_never_goes_back(v2: V2) -> None:
    job_id = v2.submit(slow(30, 0.05))["id"]
    seen = []
    while (job := v2.job(job_id))["status"] not in ("succeeded", "failed"):
        if job["status"] == "running" and job["progress"] and job["progress"]["step"]:
            seen.append(job["progress"])
        time.sleep(0.05)
    assert len(seen) > 3
    values = [progress["value"] for progress in seen]
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)
    last = seen[-1]
    assert (last["nodes_total"], last["current_node"], last["current_node_class"]) == (3, "2", "TestSteps")
    assert last["steps"] == 30
    assert last["message"] == f"TestSteps {last['step']}/30"
    assert 1 <= last["nodes_done"] <= 2


def test_the_workflow_of_a_job_comes_back_as_it_was_run(v2: V2) -> None:
    asset = v2.asset(png())
    graph = invert_upload("x")
    graph["1"]["inputs"]["image"] = reference(asset["id"])
    job = v2.submit(graph, extra_data={"api_key_comfy_org": "sk-partner-1"})
    answer = v2.get(f"/jobs/{job['id']}/workflow").given()
    assert answer.keys() == {"workflow", "format"}
    assert answer["format"] == "api"
    assert answer["workflow"]["2"] == graph["2"]
    assert isinstance(answer["workflow"]["1"]["inputs"]["image"], str), "the file as it is known here"
    assert "sk-partner-1" not in json.dumps(answer)
    assert v2.run(answer["workflow"])["status"] == "succeeded", "it can be run again as it is"


# cancelling


def test_cancelling_a_running_job_stops_it(v2: V2) -> None:
    job_id = v2.submit(sleeping(60))["id"]
    v2.reaches(job_id, "running")
    answer = v2.post(f"/jobs/{job_id}/cancel").given()
    assert answer["status"] in ("canceling", "canceled")
    job = v2.reaches(job_id, "canceled")
    assert job["completed_at"]
    assert job["error"] is None
    assert v2.post(f"/jobs/{job_id}/cancel").given()["status"] == "canceled", "again is no fault"


def test_cancelling_a_waiting_job_ends_it_at_once(v2: V2) -> None:
    blocker = v2.submit(sleeping(60))["id"]
    v2.reaches(blocker, "running")
    waiting = [v2.submit(tiny(color=number))["id"] for number in range(8)]
    last = waiting[-1]
    assert v2.job(last)["queue_position"] >= 1
    assert v2.job(last)["queue_position"] > v2.job(waiting[-2])["queue_position"]
    assert v2.post(f"/jobs/{last}/cancel").given()["status"] == "canceled"
    for job_id in (blocker, *waiting):
        v2.post(f"/jobs/{job_id}/cancel").given()


def test_cancelling_a_finished_job_changes_nothing(v2: V2) -> None:
    job = v2.run(tiny())
    assert v2.post(f"/jobs/{job['id']}/cancel").given() == job


# what is refused


REFUSED: list[tuple[Any, int, str]] = [
    ([], 400, "invalid_request"),
    ("x", 400, "invalid_request"),
    ({}, 422, "invalid_workflow"),
    ({"workflow": None}, 422, "invalid_workflow"),
    ({"workflow": []}, 422, "invalid_workflow"),
    ({"workflow": {}}, 422, "invalid_workflow"),
    ({"workflow": {"nodes": [], "links": []}}, 422, "workflow_format_ui"),
    ({"workflow": {"1": 7}}, 422, "invalid_workflow"),
    ({"workflow": {"1": {"class_type": "EmptyImage"}}}, 422, "invalid_workflow"),
    ({"workflow": tiny(), "extra_data": {"other": 1}}, 400, "invalid_request"),
    ({"workflow": tiny(), "extra_data": {"api_key_comfy_org": None}}, 400, "invalid_request"),
    ({"workflow": tiny(), "extra_data": []}, 400, "invalid_request"),
    ({"workflow": tiny(), "metadata": "acme"}, 422, "metadata_invalid"),
    ({"workflow": tiny(), "metadata": {"a": 1}}, 422, "metadata_invalid"),
    ({"workflow": tiny(), "metadata": {"a b": "c"}}, 422, "metadata_invalid"),
    ({"workflow": tiny(), "metadata": {"": "c"}}, 422, "metadata_invalid"),
    ({"workflow": tiny(), "metadata": {":priority": "1"}}, 422, "metadata_invalid"),
    ({"workflow": tiny(), "metadata": {"k" * 41: "c"}}, 422, "metadata_invalid"),
    ({"workflow": tiny(), "metadata": {"a": "ä" * 129}}, 422, "metadata_invalid"),
    ({"workflow": tiny(), "metadata": {"a": "b\u202ec"}}, 422, "metadata_invalid"),
    ({"workflow": tiny(), "metadata": {"a": "b\x85c"}}, 422, "metadata_invalid"),
    ({"workflow": tiny(), "metadata": {f"k{n}": "v" for n in range(17)}}, 422, "metadata_invalid"),
    ({"workflow": tiny(), "priority": True}, 400, "invalid_request"),
    ({"workflow": tiny(), "priority": 1.5}, 400, "invalid_request"),
    ({"workflow": tiny(), "priority": 1_000_001}, 400, "invalid_request"),
    ({"workflow": tiny(), "webhook_url": "https://example.com"}, 422, "invalid_workflow"),
    ({"workflow": tiny(), "inputs": {}}, 422, "invalid_workflow"),
]


def test_what_makes_no_sense_is_refused_and_leaves_nothing(v2: V2) -> None:
    for body, status, code in REFUSED:
        v2.post("/jobs", body).refused(status, code)
    v2.call("POST", "/jobs", data=b"{", headers={"Content-Type": "application/json"}).refused(400, "invalid_request")
    deep = b'{"workflow": ' + b'{"a":' * 3000 + b"1" + b"}" * 3000 + b"}"
    v2.call("POST", "/jobs", data=deep, headers={"Content-Type": "application/json"})
    for key in ("", "k" * 256, "caf\u00e9"):
        v2.submitting(tiny(), {"Idempotency-Key": key.encode("latin-1")}).refused(400, "invalid_request")  # type: ignore[dict-item]
    assert v2.ids() == []


def test_everything_is_taken_that_is_just_within_bounds(v2: V2) -> None:
    labels = {f"{'k' * 38}{n:02}": "ä" * 128 for n in range(16)}
    job = v2.submit(tiny(), metadata=labels, extra_data={}, priority=None, webhook_url=None, inputs=None)
    assert job["metadata"] == labels
    assert v2.submit(tiny(), metadata=None)["metadata"] == {}


def test_every_node_that_cannot_run_is_named_at_once(v2: V2) -> None:
    broken = tiny()
    del broken["1"]["inputs"]["width"]
    broken["3"]["inputs"]["images"] = ["2", 7]
    error = v2.submitting(broken).refused(422, "invalid_workflow")
    told = error["details"]["node_errors"]
    assert [(entry["field"], entry["reason"]) for entry in told["1"]] == [("width", "missing_input")]
    assert [(entry["field"], entry["reason"]) for entry in told["3"]] == [("images", "invalid_link")]
    unknown = {"1": node("NoSuchNode"), "2": save("1")}
    assert "NoSuchNode" in v2.submitting(unknown).refused(422, "invalid_workflow")["message"]
    model = text_to_image("x")
    model["4"]["inputs"]["ckpt_name"] = "nowhere.safetensors"
    told = v2.submitting(model).refused(422, "invalid_workflow")["details"]["node_errors"]
    assert told["4"][0]["field"] == "ckpt_name"
    model["4"]["inputs"]["ckpt_name"] = CHECKPOINT
    assert v2.run(model)["status"] == "succeeded"
    assert v2.submitting({"1": empty()}).refused(422, "invalid_workflow"), "nothing of it would run"


def test_without_a_backend_nothing_is_promised(bare: V2) -> None:
    bare.submitting(tiny()).refused(503, "upstream_unreachable")


def test_unknown_jobs_routes_and_methods_answer_in_this_dialect(v2: V2) -> None:
    for path in ("", "/workflow", "/events"):
        v2.get(f"/jobs/{uuid.uuid4()}{path}").refused(404, "not_found")
        v2.get(f"/jobs/x{path}").refused(404, "not_found")
    v2.post(f"/jobs/{uuid.uuid4()}/cancel").refused(404, "not_found")
    for path in ("", "/", "/nothing", "/jobs/a/b/c", "/jobs/", "/assets"):
        answer = v2.get(path)
        assert answer.status in (404, 405)
        answer.refused(answer.status, "not_found" if answer.status == 404 else "method_not_allowed")
    answer = v2.call("PUT", "/jobs")
    answer.refused(405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "POST"}


def test_keys_are_asked_for_and_health_is_not(v2: V2, shop: Tenant) -> None:
    for key in (None, "co_wrong"):
        stranger = V2(v2.base, key)
        for method, path in (("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/jobs/x"), ("POST", "/assets")):
            answer = stranger.call(method, path)
            answer.refused(401, "unauthorized")
            assert answer.headers["WWW-Authenticate"]
        assert stranger.raw("HEAD", "/assets/by-hash/blake3:00").status_code == 401
        assert stranger.get("/health").given() == {"status": "healthy"}
        stranger.close()
    reader = shop.limited("jobs")
    narrow = V2(v2.base, reader.key)
    narrow.submitting(tiny()).refused(403, "forbidden")
    assert narrow.ids() == []
    narrow.close()
    reader.close()


# priorities and secrets


def test_a_higher_priority_runs_first_and_is_told_as_it_was_asked_for(lab: MakeLab) -> None:
    backend = lab(1)
    v2 = V2(backend.gateway.url, backend.key)
    blocker = v2.submit(sleeping(60, color=1))["id"]
    v2.reaches(blocker, "running")
    wished = [None, -1_000_000, -7, 3, 20_000, 1_000_000, 4]
    jobs = [v2.submit(slow(2, 0.02, color=n), **({} if w is None else {"priority": w})) for n, w in enumerate(wished)]
    assert [job.get("priority") for job in jobs] == wished
    assert v2.job(jobs[5]["id"])["priority"] == 1_000_000
    v2.post(f"/jobs/{blocker}/cancel").given()
    ended = [v2.reaches(job["id"], "succeeded") for job in jobs]
    later = ended[1:]  # the first may have been placed before the others came
    order = [job["priority"] for job in sorted(later, key=lambda job: str(job["started_at"]))]
    assert order == sorted(order, reverse=True)
    v2.close()


def test_a_partner_key_reaches_the_server_and_is_nowhere_else(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[dict[str, Any]] = []
    submit = Machine.submit

    def noted(machine: Machine, body: Any) -> MachineAnswer:
        bodies.append(deepcopy(body))
        return submit(machine, body)

    monkeypatch.setattr(Machine, "submit", noted)
    backend = lab(1)
    v2 = V2(backend.gateway.url, backend.key)
    secret = f"comfyui-{uuid.uuid4().hex}"
    job = v2.submit(tiny(color=0xABCDEF), extra_data={"api_key_comfy_org": secret})
    ended = v2.reaches(job["id"], "succeeded")
    assert [body["extra_data"] for body in bodies] == [{"api_key_comfy_org": secret}]
    assert secret not in json.dumps([job, ended, v2.get(f"/jobs/{job['id']}/workflow").body])
    assert secret not in backend.gateway.log()
    state = b"".join(path.read_bytes() for path in backend.gateway.state.glob("*") if path.is_file())
    assert secret.encode() not in state
    v2.close()


# limits


@pytest.mark.parametrize(
    ("limit", "code"), [({"max_queued": 1}, "queue_full"), ({"max_per_minute": 2}, "rate_limited")]
)
def test_a_full_queue_says_when_to_come_back_and_frees_the_key(
    own_lab: MakeLab, limit: dict[str, object], code: str
) -> None:
    backend = own_lab(1, settings=limit)
    v2 = V2(backend.gateway.url, backend.key)
    v2.submit(sleeping(60))
    for number in range(20):
        key = {"Idempotency-Key": f"key-{number}"}
        answer = v2.submitting(tiny(color=number), key)
        if answer.status == 429:
            break
    answer.refused(429, code)
    for job_id in v2.ids():
        v2.post(f"/jobs/{job_id}/cancel")
    if code == "queue_full":
        eventually(lambda: v2.submitting(tiny(), key).status == 201)  # a key that was not freed would never do
    v2.close()


# what other dialects submitted


def test_jobs_of_stored_workflows_are_jobs_here_too(v2: V2, shop: Tenant) -> None:
    inputs = [{"id": "1", "type": "number", "name": "color"}]
    shop.workflow(tiny(), inputs, name="shown")
    job_id = shop.submit({"workflow_id": "shown", "inputs": {"color": 0x0A0B0C}})
    job = v2.reaches(job_id, "succeeded")
    assert job["metadata"] == {}
    assert opened(v2.content(job["outputs"][0]["id"]).content).getpixel((5, 5)) == (0xF5, 0xF4, 0xF3)
    assert v2.get(f"/jobs/{job_id}/workflow").given()["workflow"] == tiny(color=0x0A0B0C)
    assert v2.ids() == [job_id]


def test_a_key_for_some_workflows_is_shown_no_graph_of_the_others(
    v2: V2, shop: Tenant, gateway: GatewayProcess
) -> None:
    shop.workflow(slow(60), name="hidden")
    job_id = shop.submit({"workflow_id": "hidden"})
    key = gateway.key(shop.name, workflows=("other",))
    narrow = V2(v2.base, key)
    v2.get(f"/jobs/{job_id}/workflow").given()
    v2.reaches(job_id, "running")
    assert narrow.job(job_id)["status"] == "running"
    narrow.get(f"/jobs/{job_id}/workflow").refused(404, "not_found")
    v2.post(f"/jobs/{job_id}/cancel")
    narrow.close()
