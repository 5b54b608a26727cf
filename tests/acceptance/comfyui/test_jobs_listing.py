"""Jobs as newer servers list them, and as their page reads them: the queue and the history in one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import requests

from comfyone.emulator import Sandbox
from tests.acceptance.comfyui.conftest import Native
from tests.acceptance.comfyui.stage import Ears
from tests.acceptance.conftest import Tenant
from tests.graphs import Graph, empty, failing, node, sleeping, speaking, tiny
from tests.support.gateway import GatewayProcess
from tests.support.v1 import V1
from tests.support.waiting import eventually

ENDED = "completed,failed,cancelled"
UNKNOWN = "01a200a3-0000-7df5-84e2-7ffc46735000"
ERROR = {
    "node_id": str,
    "node_type": str,
    "executed": list,
    "exception_message": str,
    "exception_type": str,
    "traceback": list,
}
"""What the page wants of an error: with anything else it shows no job at all."""


def listed(native: Native, **query: Any) -> list[dict[str, Any]]:
    """A page of jobs, each of which the page would take."""
    body = native.get("/jobs", **query)
    assert set(body) == {"jobs", "pagination"}
    for job in body["jobs"]:
        assert isinstance(job["id"], str)
        assert job["status"] in ("pending", "in_progress", "completed", "failed", "cancelled")
        assert all(type(job[name]) is int for name in ("create_time", "priority", "outputs_count"))
        assert all(value is not None for value in job.values()), "what there is nothing to say of is left out"
        assert ("execution_error" in job) == (job["status"] == "failed")
        for name, kind in ERROR.items() if "execution_error" in job else ():
            assert isinstance(job["execution_error"][name], kind), name
    return list(body["jobs"])


def ids(native: Native, **query: Any) -> list[str]:
    return [job["id"] for job in listed(native, **query)]


def paged(native: Native, **query: Any) -> tuple[list[str], dict[str, Any]]:
    body = native.get("/jobs", **query)
    return [job["id"] for job in body["jobs"]], body["pagination"]


def made_on_the_page(workflow_id: Any) -> dict[str, Any]:
    return {"extra_pnginfo": {"workflow": {"id": workflow_id, "version": 0.4, "nodes": []}}}


def details(native: Native, prompt_id: str) -> dict[str, Any]:
    return dict(native.get(f"/jobs/{prompt_id}"))


def ended(native: Native, graph: Graph, **more: Any) -> dict[str, Any]:
    """A job that has run, with all that is told of it."""
    prompt_id = native.queue(graph, **more)
    native.entry(prompt_id)
    return details(native, prompt_id)


def test_a_job_is_listed_from_the_queue_to_the_history(comfyui: Native) -> None:
    before = int(time.time() * 1000)
    running = comfyui.queue(sleeping(30))
    comfyui.begun(running)
    waiting = comfyui.queue(tiny(), prompt_id="own-words", client_id="page")
    assert ids(comfyui) == [waiting, running]
    assert ids(comfyui, status="pending") == [waiting] == ["own-words"]
    assert ids(comfyui, status=" In_Progress ,") == [running]
    assert set(ids(comfyui, status="in_progress,pending")) == {running, waiting}
    assert ids(comfyui, status=ENDED) == ids(comfyui, status=",") == []
    [job] = listed(comfyui, status="pending")
    assert before - 1000 <= job["create_time"] <= time.time() * 1000 + 1000
    assert (job["outputs_count"], job["previewable_outputs_count"]) == (0, 0)
    assert set(job) == {
        "id",
        "status",
        "priority",
        "create_time",
        "outputs_count",
        "previewable_outputs_count",
    }
    told = details(comfyui, waiting)
    assert told.items() >= job.items()
    assert told["workflow"]["prompt"] == tiny()
    assert told["workflow"]["extra_data"] == {"create_time": job["create_time"], "client_id": "page"}
    assert "outputs" not in told
    assert details(comfyui, running)["status"] == "in_progress"
    comfyui.post("/interrupt", {"prompt_id": running})
    comfyui.entry(waiting)
    done = {job["id"]: job["status"] for job in listed(comfyui, status=ENDED)}
    assert done == {running: "cancelled", waiting: "completed"}
    assert ids(comfyui, status="in_progress,pending") == []
    assert comfyui.get("/api/jobs") == comfyui.get("/jobs")


def test_what_a_job_made_is_counted_and_the_best_of_it_is_shown(comfyui: Native) -> None:
    graph = {
        "1": node("TestText", text="a word"),
        "2": empty(batch_size=2),
        "3": node("PreviewImage", images=["2", 0]),
        "4": node("SaveImage", images=["2", 0], filename_prefix="kept"),
    }
    job = ended(comfyui, graph)
    assert (job["status"], job["outputs_count"], job["previewable_outputs_count"]) == ("completed", 4, 4)
    shown = job["preview_output"]
    assert (shown["nodeId"], shown["mediaType"], shown["type"]) == ("4", "images", "output")
    assert comfyui.view({name: shown[name] for name in ("filename", "subfolder", "type")}).status_code == 200
    entry = comfyui.get(f"/history/{job['id']}")[job["id"]]
    assert job["outputs"] == entry["outputs"]
    assert job["execution_status"] == entry["status"]
    assert [job["workflow"]["prompt"], job["workflow"]["extra_data"]] == entry["prompt"][2:4]
    start, end = (entry["status"]["messages"][place][1]["timestamp"] for place in (0, -1))
    assert (job["execution_start_time"], job["execution_end_time"]) == (start, end)
    [summary] = listed(comfyui)
    assert summary.items() <= job.items()
    assert not summary.keys() & {"outputs", "workflow", "execution_status"}
    word = ended(comfyui, speaking("z" * 2000))
    assert word["outputs_count"] == 0, "a text is no file"
    assert word["preview_output"] == {"content": "z" * 1024, "truncated": True, "nodeId": "1", "mediaType": "text"}


def test_why_a_job_failed_is_told_in_the_form_that_the_page_takes(comfyui: Native) -> None:
    job = ended(comfyui, failing("on purpose"))
    assert job["status"] == "failed"
    error = job["execution_error"]
    assert (error["node_id"], error["node_type"], error["exception_type"]) == ("2", "TestFail", "ValueError")
    assert error["exception_message"].strip() == "on purpose"
    assert error["prompt_id"] == job["id"]
    assert error["timestamp"] == job["execution_end_time"]


def test_a_job_that_no_node_failed_is_told_in_that_form_too(limited: Tenant) -> None:
    limited.workflow(tiny())
    limited.register("http://127.0.0.1:9", state="down")  # nothing takes the job in time
    job = limited.submit({"workflow_id": "w"})
    native = Native(limited)
    native.entry(job)
    [found] = listed(native, status="failed")
    assert (found["id"], found["execution_error"]["node_id"]) == (job, "")
    assert details(native, job)["execution_error"] == found["execution_error"]


def test_jobs_come_in_the_order_and_on_the_pages_that_are_asked_for(comfyui: Native) -> None:
    quick = [comfyui.queue(sleeping(0.0, color)) for color in (1, 2)]
    slow = comfyui.queue(sleeping(0.6, 3))
    last = comfyui.queue(sleeping(0.0, 4))
    order = [*quick, slow, last]
    for prompt_id in order:
        comfyui.entry(prompt_id)
    assert ids(comfyui) == order[::-1]
    assert ids(comfyui, sort_order="asc") == ids(comfyui, sort_by="created_at", sort_order="ASC") == order
    assert ids(comfyui, sort_by="execution_duration")[0] == slow
    assert ids(comfyui, sort_by="execution_duration", sort_order="asc")[-1] == slow
    assert paged(comfyui, limit=2) == (
        [last, slow],
        {"offset": 0, "limit": 2, "total": 4, "has_more": True},
    )
    assert paged(comfyui, limit=2, offset=2) == (
        quick[::-1],
        {"offset": 2, "limit": 2, "total": 4, "has_more": False},
    )
    assert paged(comfyui, limit=2, offset=9) == ([], {"offset": 9, "limit": 2, "total": 4, "has_more": False})
    assert paged(comfyui, offset=-5)[1] == {"offset": 0, "limit": 1000, "total": 4, "has_more": False}
    assert paged(comfyui, limit=10**9)[1]["limit"] == 1000
    assert paged(comfyui, status="failed")[1]["total"] == 0


def test_jobs_of_one_workflow_of_the_page_are_found_by_it(comfyui: Native) -> None:
    mine = [ended(comfyui, tiny(color=color), extra_data=made_on_the_page("flow-1"))["id"] for color in (1, 2)]
    ended(comfyui, tiny(color=3), extra_data=made_on_the_page("flow-2"))
    ended(comfyui, tiny(color=4), extra_data=made_on_the_page({"odd": 1}))
    assert ids(comfyui, workflow_id="flow-1") == mine[::-1]
    assert paged(comfyui, workflow_id="flow-1", limit=1)[1]["total"] == 2
    assert ids(comfyui, workflow_id="flow") == []
    assert len(ids(comfyui, workflow_id="")) == 4
    assert [job.get("workflow_id") for job in listed(comfyui)] == [None, "flow-2", "flow-1", "flow-1"]
    assert details(comfyui, mine[0])["workflow_id"] == "flow-1"
    assert details(comfyui, mine[0])["workflow"]["extra_data"]["extra_pnginfo"]["workflow"]["nodes"] == []


def test_a_tenant_is_listed_its_own_jobs_and_finds_and_cancels_no_others(comfyui: Native, other: Native) -> None:
    mine = comfyui.queue(sleeping(30))
    comfyui.begun(mine)
    theirs = other.queue(tiny(), extra_data=made_on_the_page("flow"))
    assert ids(comfyui) == [mine]
    assert ids(other) == [theirs]
    assert ids(comfyui, workflow_id="flow") == []
    foreign, unknown = (comfyui.raw("GET", f"/jobs/{key}") for key in (theirs, UNKNOWN))
    assert (foreign.status_code, foreign.json()) == (404, {"error": f"no job '{theirs}'"})
    assert (unknown.status_code, unknown.text.replace(UNKNOWN, theirs)) == (404, foreign.text)
    assert other.post(f"/jobs/{mine}/cancel").json() == {"cancelled": False}
    assert other.post("/jobs/cancel", {"job_ids": [mine]}).json() == {"cancelled": False}
    assert ids(comfyui, status="in_progress") == [mine]


def test_what_waits_and_what_runs_is_cancelled_and_the_rest_left_alone(comfyui: Native) -> None:
    done = ended(comfyui, tiny())["id"]
    running = comfyui.queue(sleeping(30))
    comfyui.begun(running)
    waiting = [comfyui.queue(sleeping(30, color)) for color in range(4)]
    assert comfyui.post(f"/jobs/{waiting[0]}/cancel").json() == {"cancelled": True}
    assert comfyui.post("/api/jobs/cancel", {"job_ids": [*waiting[1:3], waiting[1], UNKNOWN]}).json() == {
        "cancelled": True
    }
    assert eventually(lambda: ids(comfyui, status="pending") == [waiting[3]])
    assert comfyui.raw("GET", f"/jobs/{waiting[0]}").status_code == 404, "it has left the queue, and never ran"
    for nothing in (f"/jobs/{done}/cancel", f"/jobs/{waiting[0]}/cancel", "/jobs/nobody/cancel"):
        assert comfyui.post(nothing).json() == {"cancelled": False}
    assert comfyui.post("/jobs/cancel", {"job_ids": [done, "nobody"]}).json() == {"cancelled": False}
    comfyui.post("/queue", {"delete": [waiting[3], waiting[3]]})
    assert ids(comfyui, status="pending,in_progress") == [running]
    assert comfyui.post("/jobs/cancel", {"job_ids": [running]}).json() == {"cancelled": True}
    assert comfyui.entry(running)["status"]["messages"][-1][0] == "execution_interrupted"
    assert details(comfyui, running)["status"] == "cancelled"


def test_what_is_taken_out_of_the_history_is_listed_no_more(comfyui: Native) -> None:
    gone, kept = (ended(comfyui, tiny(color=color))["id"] for color in (1, 2))
    comfyui.post("/history", {"delete": [gone]})
    assert ids(comfyui) == [kept]
    assert comfyui.raw("GET", f"/jobs/{gone}").status_code == 404
    comfyui.post("/history", {"clear": True})
    assert ids(comfyui) == []


@pytest.mark.parametrize("path", ["/jobs", "/api/jobs"])
@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "status=pending,done",
        "sort_by=id",
        "sort_order=up",
        "limit=0",
        "limit=-1",
        "limit=many",
        "offset=far",
    ],
)
def test_what_can_not_be_asked_for_is_said(comfyui: Native, path: str, query: str) -> None:
    answer = comfyui.raw("GET", f"{path}?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]


@pytest.mark.parametrize("body", [{}, {"job_ids": "all"}, {"job_ids": [{}]}, []])
def test_what_names_no_jobs_cancels_none(comfyui: Native, body: Any) -> None:
    answer = comfyui.raw("POST", "/jobs/cancel", json=body)
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"error"}


def test_a_key_for_some_workflows_is_listed_all_jobs_and_shown_no_graph_of_the_others(
    comfyui: Native, shop: Tenant, gateway: GatewayProcess
) -> None:
    for name in ("open", "hidden"):
        shop.workflow(tiny(), name=name)
    seen, unseen = (shop.submit({"workflow_id": name}) for name in ("open", "hidden"))
    for job in (seen, unseen):
        comfyui.entry(job)
    key = gateway.key(shop.name, workflows=("open",))
    narrow = V1(shop.url, key)
    assert narrow.raw("GET", f"/jobs/{seen}").json()["workflow"]["prompt"] == tiny()
    assert narrow.raw("GET", f"/jobs/{unseen}").json()["workflow"]["prompt"] == {}
    assert {job["id"] for job in narrow.raw("GET", "/jobs").json()["jobs"]} == {seen, unseen}
    narrow.close()


def test_jobs_are_for_those_with_a_key_that_may_see_them(comfyui: Native) -> None:
    assert requests.get(f"{comfyui.url}/api/jobs", timeout=10).status_code == 401
    assert comfyui.tenant.limited("workflows").raw("GET", "/api/jobs").status_code == 403


async def test_what_somebody_stops_on_the_backend_is_interrupted_for_socket_history_and_list(
    lone: tuple[Native, Sandbox],
) -> None:
    comfyui, sandbox = lone
    async with Ears.open(comfyui.url, "clientId=page", key=comfyui.key) as ears:
        prompt_id = await asyncio.to_thread(comfyui.queue, sleeping(30), client_id="page")
        await ears.until("executing", node="2", prompt_id=prompt_id)
        await asyncio.to_thread(requests.post, f"{sandbox.url}/interrupt", timeout=5)
        _, heard = await ears.until("execution_interrupted")
    status = (await asyncio.to_thread(comfyui.entry, prompt_id))["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    kind, told = status["messages"][-1]
    assert kind == "execution_interrupted"
    assert [told[name] for name in ("prompt_id", "node_id", "node_type")] == [prompt_id, "2", "TestSleep"]
    assert [heard[name] for name in ("prompt_id", "node_id", "node_type")] == [prompt_id, "2", "TestSleep"]
    [job] = listed(comfyui)
    assert job["status"] == details(comfyui, prompt_id)["status"] == "cancelled"
    assert ids(comfyui, status="cancelled") == [prompt_id]
    assert ids(comfyui, status="failed") == []
    assert comfyui.tenant.status(prompt_id)["state"] == "failed"
