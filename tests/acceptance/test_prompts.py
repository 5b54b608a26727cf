"""Submitting jobs in every form, and reading how they stand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from comfyone import ConflictError, PromptInput, PromptPayload
from tests.acceptance.conftest import Tenant
from tests.graphs import sleeping, slow, text_to_image, tiny
from tests.support.v1 import V1
from tests.support.waiting import eventually

COLOR = {"id": "1", "type": "number", "name": "color"}
WIDTH = {"id": "1", "type": "number", "name": "width"}


def pixel(tenant: Tenant, job: str) -> Any:
    return tenant.sdk.job(job).result(15).images[0].getpixel((0, 0))


@pytest.mark.seed("S1-23", "S1-25", "S1-52")
def test_a_job_is_answered_and_told_in_every_spelling(shop: Tenant) -> None:
    workflow = shop.workflow(tiny(), [COLOR])
    payload = PromptPayload(workflow_id=workflow["id"], inputs=[PromptInput(id="1", params={"color": 0})])
    accepted = shop.sdk.api.prompt(payload).data
    assert accepted["taskId"] == accepted["task_id"] == accepted["id"]
    assert (accepted["status"], accepted["state"]) == ("pendding", "queued")
    status = shop.ended(accepted["id"])
    assert status["taskId"] == status["task_id"] == status["id"] == accepted["id"]
    assert (status["status"], status["state"], status["message"]) == ("finished", "succeeded", "success")
    assert status["images"] == [output["url"] for output in status["outputs"]]
    assert status["workflow_id"] == workflow["id"]
    assert (status["progress"], status["current"], status["attempts"], status["error"]) == (100, None, 1, None)
    assert status["inputs"] == {"1": {"color": 0}}


@pytest.mark.seed("S1-82")
def test_a_status_tells_times_and_the_run_time(shop: Tenant) -> None:
    shop.workflow(slow(steps=4, seconds=0.05))
    status = shop.ended(shop.submit({"workflow_id": "w"}))
    times = [datetime.fromisoformat(status[name]) for name in ("created_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert all(time.tzinfo for time in times)
    assert 0 < status["cost_time"] < 30
    assert abs((times[2] - times[1]).total_seconds() - status["cost_time"]) < 0.01


@pytest.mark.parametrize(
    "inputs",
    [
        [{"id": "1", "params": {"color": 0x112233, "width": 32}}],
        [{"id": "1", "color": 0x112233, "width": 32}],
        [{"id": "1", "params": {"color": 0x112233}, "width": 32}],
        [{"id": "1", "params": {"color": 0x112233}}, {"id": "1", "params": {"width": 32}}],
        {"color": 0x112233, "width": 32},
        {"colour of the wall": 0x112233, "width": 32},
    ],
    ids=["params", "beside", "both", "twice", "names", "titles"],
)
def test_values_are_taken_in_every_form(shop: Tenant, inputs: Any) -> None:
    shop.workflow(tiny(), [{**COLOR, "title": "colour of the wall"}, WIDTH])
    job = shop.submit({"workflow_id": "w", "inputs": inputs})
    image = shop.sdk.job(job).result(15).images[0]
    assert (image.size, image.getpixel((0, 0))) == ((32, 64), (0xEE, 0xDD, 0xCC))


def test_an_input_that_is_not_given_keeps_the_value_of_the_graph(shop: Tenant) -> None:
    shop.workflow(tiny(color=0x336699), [COLOR])
    assert pixel(shop, shop.submit({"workflow_id": "w"})) == (0xCC, 0x99, 0x66)
    assert pixel(shop, shop.submit({"workflow_id": "w", "inputs": []})) == (0xCC, 0x99, 0x66)


def test_a_whole_number_written_as_a_float_is_taken_as_a_whole_number(shop: Tenant) -> None:
    shop.workflow(tiny(), [COLOR])
    assert pixel(shop, shop.submit({"workflow_id": "w", "inputs": {"color": 0.0}})) == (255, 255, 255)


@pytest.mark.seed("S1-52")
def test_an_old_client_that_sends_the_two_required_fields_alone_is_served(shop: Tenant) -> None:
    workflow = shop.workflow(tiny(), [COLOR])
    body = {"workflow_id": workflow["id"], "inputs": [{"id": "1", "params": {"color": 1}}], "free_cache": False}
    assert shop.ended(shop.submit(body))["state"] == "succeeded"


def test_fields_that_are_not_known_are_ignored(shop: Tenant) -> None:
    shop.workflow(tiny())
    assert shop.ended(shop.submit({"workflow_id": "w", "someday": True}))["state"] == "succeeded"


@pytest.mark.seed("S1-29")
@pytest.mark.parametrize("form", ["workflow", "prompt", "bare"])
def test_a_graph_runs_without_being_stored(shop: Tenant, form: str) -> None:
    graph = tiny(color=0x336699)
    job = shop.submit(graph if form == "bare" else {form: graph}, "/v1/prompts_workflow")
    assert pixel(shop, job) == (0xCC, 0x99, 0x66)
    status = shop.status(job)
    assert (status["workflow_id"], status["version"]) == (None, None)
    assert shop.get("/v1/workflows").data == []


def test_a_graph_that_is_not_stored_takes_outputs_and_values(shop: Tenant) -> None:
    graph = {**tiny(), "4": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "plain"}}}
    both = shop.sdk.api.prompt_workflow(graph).data["taskId"]
    assert len(shop.ended(both)["images"]) == 2
    one = shop.sdk.api.prompt_workflow(graph, outputs=["4"], inputs=[{"id": "1", "params": {"color": 0x112233}}])
    status = shop.ended(one.data["taskId"])
    assert [output["node_id"] for output in status["outputs"]] == ["4"]
    assert pixel(shop, one.data["taskId"]) == (0x11, 0x22, 0x33)


def test_values_for_a_node_that_the_graph_lacks_are_refused(shop: Tenant) -> None:
    body = {"workflow": tiny(), "inputs": [{"id": "7", "params": {"color": 1}}]}
    assert "'7'" in shop.post("/v1/prompts_workflow", body).fails("invalid_input")["message"]
    assert shop.everything()["jobs"] == {}


@pytest.mark.seed("S1-26")
def test_a_waiting_job_is_cancelled_at_once(shop: Tenant) -> None:
    (backend,) = shop.get("/v1/backends").data
    shop.patch(f"/v1/backends/{backend['name']}", {"state": "down"})
    shop.workflow(tiny())
    job = shop.submit({"workflow_id": "w"})
    status = shop.sdk.api.cancel_prompt(job).data
    assert (status["state"], status["status"], status["cancelling"]) == ("cancelled", "cancel", True)
    assert "images" not in status


@pytest.mark.seed("S1-26", "S1-81")
@pytest.mark.parametrize(("method", "path"), [("POST", "/cancel"), ("DELETE", "")])
def test_a_running_job_is_cancelled_by_either_verb(shop: Tenant, method: str, path: str) -> None:
    shop.workflow(slow(steps=200, seconds=0.05))
    job = shop.submit({"workflow_id": "w"})
    eventually(lambda: shop.status(job)["state"] == "running")
    assert shop.call(method, f"/v1/prompts/{job}{path}").data["cancelling"]
    assert shop.ended(job)["state"] == "cancelled"


@pytest.mark.seed("S1-26")
def test_a_job_that_has_ended_stays_as_it_is_when_it_is_cancelled(shop: Tenant) -> None:
    shop.workflow(tiny())
    job = shop.submit({"workflow_id": "w"})
    before = shop.ended(job)
    with pytest.raises(ConflictError) as caught:
        shop.sdk.api.cancel_prompt(job)
    assert caught.value.error == "job_finished"
    assert shop.status(job) == before


@pytest.mark.seed("S1-25")
def test_the_old_form_of_the_status_answers_the_same(shop: Tenant) -> None:
    shop.workflow(tiny())
    job = shop.submit({"workflow_id": "w"})
    status = shop.ended(job)
    assert shop.get(f"/v1/prompts/{job}").data == status
    assert shop.sdk.api.get_prompt_status(job).data == status


def test_a_status_that_waits_answers_when_the_job_ends_or_the_time_is_over(shop: Tenant) -> None:
    shop.workflow(slow(steps=8, seconds=0.05))
    job = shop.submit({"workflow_id": "w"})
    assert shop.status(job, wait=0.1)["state"] in ("dispatched", "running")
    assert shop.status(job, wait=30)["state"] == "succeeded"
    shop.get(f"/v1/prompts/{job}/status", params={"wait": "soon"}).fails("invalid_body", "wait")
    shop.get(f"/v1/prompts/{job}/status", params={"wait": "-1"}).fails("invalid_body", "wait")
    shop.get(f"/v1/prompts/{job}/status", params={"wait": "nan"}).fails("invalid_body", "wait")


@pytest.mark.seed("S1-28")
def test_the_history_is_newest_first_paged_and_filtered(shop: Tenant) -> None:
    shop.workflow(tiny())
    jobs = [shop.submit({"workflow_id": "w"}) for _ in range(5)]
    for job in jobs:
        shop.ended(job)
    (backend,) = shop.get("/v1/backends").data
    shop.patch(f"/v1/backends/{backend['name']}", {"state": "down"})
    jobs.append(shop.submit({"workflow_id": "w"}))
    newest = jobs[::-1]

    def history(**query: Any) -> list[str]:
        return [record["id"] for record in shop.get("/v1/prompts/history", params=query).data]

    assert [record["id"] for record in shop.sdk.api.get_prompt_history().data] == newest
    assert [record["id"] for record in shop.sdk.api.get_prompt_history(limit=2, offset=1).data] == newest[1:3]
    assert history(offset=6) == []
    for spelling in ("pendding", "pending", "queued"):
        assert history(status=spelling) == newest[:1]
    for spelling in ("finished", "succeeded"):
        assert history(status=spelling) == newest[1:]
    assert history(status="failed") == []
    assert history(limit=10_000) == newest
    for wrong in ({"limit": "0"}, {"limit": "x"}, {"offset": "-1"}, {"status": "sideways"}):
        (name,) = wrong
        shop.get("/v1/prompts/history", params=wrong).fails("invalid_body", name)


def test_higher_priority_goes_first_and_equals_in_the_order_of_their_coming(shop: Tenant) -> None:
    (backend,) = shop.get("/v1/backends").data
    shop.patch(f"/v1/backends/{backend['name']}", {"state": "down"})
    shop.workflow(tiny())
    jobs = [shop.submit({"workflow_id": "w", "priority": priority}) for priority in (0, 5, 0, 10, 5)]
    order = [jobs[3], jobs[1], jobs[4], jobs[0], jobs[2]]
    assert [shop.status(job)["current"] for job in order] == [0, 1, 2, 3, 4]
    shop.patch(f"/v1/backends/{backend['name']}", {"state": "up"})
    begun = {job: shop.ended(job)["started_at"] for job in jobs}
    assert [begun[job] for job in order] == sorted(begun.values())


def test_the_same_key_and_body_is_the_same_job(shop: Tenant) -> None:
    shop.workflow(tiny())
    body, headers = {"workflow_id": "w"}, {"Idempotency-Key": "order-17"}
    first = shop.post("/v1/prompts", body, headers=headers)
    assert "Idempotency-Replayed" not in first.headers
    shop.ended(first.data["id"])
    again = shop.post("/v1/prompts", body, headers=headers)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.data == first.data
    assert len(shop.everything()["jobs"]) == 1


def test_the_same_key_with_another_body_is_refused(shop: Tenant) -> None:
    shop.workflow(tiny(), [COLOR])
    headers = {"Idempotency-Key": "order-17"}
    shop.post("/v1/prompts", {"workflow_id": "w"}, headers=headers).data  # noqa: B018
    before = shop.everything()["jobs"].keys()
    other = shop.post("/v1/prompts", {"workflow_id": "w", "inputs": {"color": 1}}, headers=headers)
    other.fails("idempotency_mismatch", "Idempotency-Key")
    assert shop.everything()["jobs"].keys() == before
    for wrong in ("", "x" * 256):
        answer = shop.post("/v1/prompts", {"workflow_id": "w"}, headers={"Idempotency-Key": wrong})
        answer.fails("invalid_body", "Idempotency-Key")


def test_two_tenants_may_use_the_same_idempotency_key(shop: Tenant, rival: Tenant, sandbox: Any) -> None:
    rival.register(sandbox.url)
    jobs = []
    for tenant in (shop, rival):
        tenant.workflow(tiny())
        jobs.append(tenant.submit({"workflow_id": "w"}, headers={"Idempotency-Key": "same"}))
    assert jobs[0] != jobs[1]


def test_events_stream_with_numbers_and_resume_after_one(shop: Tenant) -> None:
    shop.workflow(slow(steps=20, seconds=0.1))
    job = shop.submit({"workflow_id": "w"})
    whole = events(shop, job)
    assert [kind for number, kind in whole if number] == ["queued", "dispatched", "running", "succeeded"]
    assert [number for number, _ in whole if number] == ["1", "2", "3", "4"]
    # where it stands in the queue is told too, to those who come before it is placed
    assert {kind for number, kind in whole if not number} - {"position"} == {"progress"}
    assert events(shop, job, headers={"Last-Event-ID": "3"}) == [("4", "succeeded")]
    assert events(shop, job, params={"after": "2"}) == [("3", "running"), ("4", "succeeded")]
    assert events(shop, job, params={"after": "4"}) == []


def test_a_head_of_the_events_is_answered_at_once(shop: Tenant) -> None:
    shop.workflow(sleeping(30))
    job = shop.submit({"workflow_id": "w"})
    answer = shop.raw("HEAD", f"/v1/prompts/{job}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert shop.raw("HEAD", "/v1/prompts/01a200a3-0000-7df5-84e2-7ffc46735000/events").status_code == 404
    assert shop.status(job)["state"] not in ("succeeded", "failed", "cancelled")


def events(tenant: V1, job: str, **options: Any) -> list[tuple[str | None, str]]:
    """The id line and the type of every event until the stream ends."""
    response = tenant.raw("GET", f"/v1/prompts/{job}/events", **options)
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields.get("id"), fields["event"]))
    return found


def test_a_painting_in_steps_tells_its_progress_in_the_status(shop: Tenant) -> None:
    shop.workflow(slow(steps=20, seconds=0.05))
    job = shop.submit({"workflow_id": "w"})
    progress = eventually(lambda: shop.status(job)["progress"])
    assert 0 < progress < 100
    assert shop.ended(job)["progress"] == 100


def test_free_cache_is_passed_on_to_the_server_after_the_job(shop: Tenant) -> None:
    shop.workflow(text_to_image("an owl", width=64, height=64), outputs=["9"])
    body = {"workflow_id": "w", "free_cache": True}
    assert shop.ended(shop.submit(body))["state"] == "succeeded"
