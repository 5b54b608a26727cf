"""What is told while a job waits and runs: positions, expected times and pictures of unfinished work."""

from __future__ import annotations

import base64
import socket
from typing import Any

import pytest
import requests

from comfyone import AuthenticationError
from comfyone.emulator import Sandbox
from comfyone.wire.v1 import JobEvent
from tests.acceptance.conftest import Tenant
from tests.acceptance.test_websocket import go, halt, run
from tests.graphs import failing, slow, text_to_image, tiny
from tests.support.command import comfyone
from tests.support.gateway import GatewayProcess
from tests.support.pictures import opened
from tests.support.sockets import Ears
from tests.support.streams import stream
from tests.support.waiting import eventually


def shades(pictures: list[bytes]) -> list[int]:
    """How bright each picture is: those of `slow` grow brighter."""
    return [pixel[0] for picture in pictures if isinstance(pixel := opened(picture).getpixel((5, 5)), tuple)]


def watched(tenant: Tenant, graph: Any) -> list[JobEvent]:
    """Everything that is told of a job, previews too, by a listener that is there before it begins."""
    halt(tenant)
    events = tenant.sdk.job(run(tenant, graph)).events(previews=True)
    first = next(events)
    go(tenant)
    return [first, *events]


# previews


def test_who_asks_for_previews_sees_the_work_grow(shop: Tenant) -> None:
    events = watched(shop, slow(steps=8, seconds=0.08, preview=True))
    pictures = [event.preview for event in events if event.preview]
    assert len(pictures) >= 3
    assert shades(pictures) == sorted(shades(pictures))
    assert shades(pictures)[0] < shades(pictures)[-1]
    (kind,) = {event.type for event in events if event.preview}
    assert kind == "preview"
    for event in events:
        if event.preview:
            assert (event.number, event.data["mime"], event.data["node_id"]) == (None, "image/jpeg", "2")
    assert [event.type for event in events if event.number] == ["queued", "dispatched", "running", "succeeded"]
    begun = next(place for place, event in enumerate(events) if event.type == "running")
    assert all(place > begun for place, event in enumerate(events) if event.preview)


def test_a_sampler_shows_its_picture_from_noise_to_the_end(acme: Tenant) -> None:
    with Sandbox(step_time=0.05) as studio:
        acme.register("studio", url=studio.url)
        pictures = [event.preview for event in watched(acme, text_to_image("an owl", steps=12)) if event.preview]
    assert pictures
    assert all(max(opened(picture).size) == 128 for picture in pictures)


def test_who_does_not_ask_for_previews_sees_none(shop: Tenant) -> None:
    with Ears(shop.url, shop.secret) as ears, Ears(shop.url, shop.secret, "previews=1") as looking:
        job = shop.sdk.job(run(shop, slow(steps=6, seconds=0.1, preview=True)))
        assert "preview" not in [event.type for event in job.events()]
        looking.until("finished", job.id)
        ears.until("finished", job.id)
        shown = [message for message in looking.of(job.id) if message["type"] == "preview"]
        assert shown
        assert "preview" not in [message["type"] for message in ears.messages]
    for message in shown:
        assert set(message["data"]) == {"mime", "node_id", "data"}
        assert opened(base64.b64decode(message["data"]["data"])).size == (64, 64)


def test_previews_are_for_their_owner_alone(shop: Tenant, rival: Tenant) -> None:
    job = run(shop, slow(steps=10, seconds=0.1, preview=True))
    with Ears(rival.url, rival.secret, "previews=1") as spying, Ears(shop.url, shop.secret, "previews=1") as ears:
        with (
            pytest.raises(requests.HTTPError, match="404"),
            stream(rival.url, rival.secret, job, previews=1),
        ):
            raise AssertionError("somebody else's job was shown")
        ears.until("preview", job)
        ears.until("finished", job)
        spying.say({"type": "sync"})
        assert spying.hear()["type"] == "error", "the answer to that frame is all that it hears"


def test_a_reader_that_never_reads_its_previews_holds_up_nobody(shop: Tenant) -> None:
    job = run(shop, slow(steps=300, seconds=0.005, preview=True))
    eventually(lambda: shop.status(job)["state"] != "queued")
    deaf = socket.create_connection(("127.0.0.1", int(shop.url.rpartition(":")[2])))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    request = (
        f"GET /v1/prompts/{job}/events?previews=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.secret}\r\n\r\n"
    )
    deaf.sendall(request.encode())
    with deaf:
        events = list(shop.sdk.job(job).events(previews=True))
    assert any(event.preview for event in events)
    assert events[-1].type == "succeeded"


def test_a_wrong_wish_for_previews_is_named(shop: Tenant) -> None:
    answer = shop.get(f"/v1/prompts/{run(shop, tiny())}/events", params={"previews": "maybe"})
    answer.fails("invalid_body", "previews")


# positions and expected times


def position(event: JobEvent) -> tuple[int, Any]:
    return event.data["position"], event.data["eta"]


def stored(tenant: Tenant, steps: int = 10) -> str:
    """A workflow that takes its time for each color; it has run once. Returns its id."""
    workflow = tenant.workflow(slow(steps, seconds=0.05), [{"id": "1", "type": "number", "name": "color"}])
    assert tenant.sdk.submit("w", color=1).wait(20).state == "succeeded"
    return str(workflow["id"])


def occupied(tenant: Tenant) -> list[str]:
    """Two long jobs, which is all that a backend takes: what comes now waits."""
    jobs = [run(tenant, slow(steps=400, seconds=0.1, color=color)) for color in (2, 3)]
    eventually(lambda: all(tenant.status(job)["state"] != "queued" for job in jobs))
    return jobs


def cancel(tenant: Tenant, *jobs: str) -> None:
    for job in jobs:
        tenant.post(f"/v1/prompts/{job}/cancel")


def test_a_job_that_waits_is_told_its_position_and_when_it_will_have_ended(shop: Tenant) -> None:
    stored(shop)
    busy = occupied(shop)
    first, second = shop.sdk.submit("w", color=4), shop.sdk.submit("w", color=5)
    events = second.events()
    told = next(event for event in events if event.type == "position")
    assert position(told)[0] == second.status().current == 1
    assert position(told)[1] > 0
    cancel(shop, first.id)
    nearer = next(event for event in events if event.type == "position" and position(event)[0] == 0)
    assert (nearer.number, second.status().current) == (None, 0)
    cancel(shop, *busy)
    assert list(events)[-1].type == "succeeded"
    assert (second.status().current, second.status().eta) == (None, None)


def test_the_end_tells_how_long_a_backend_worked_and_for_which_workflow(shop: Tenant) -> None:
    workflow = stored(shop)
    (end,) = [event for event in shop.sdk.submit("w", color=6).events() if event.type == "succeeded"]
    assert end.data["workflow"] == workflow
    assert 0 < end.data["seconds"] < 20
    raw = shop.sdk.job(run(shop, tiny()))
    assert raw.wait(20).state == "succeeded"
    assert list(raw.events())[-1].data["workflow"] is None


def test_nothing_is_promised_while_no_backend_takes_jobs(shop: Tenant) -> None:
    stored(shop)
    halt(shop)
    job = shop.sdk.submit("w", color=7)
    assert (job.status().current, job.status().eta) == (0, None)
    go(shop)
    assert job.wait(20).state == "succeeded"


def test_positions_of_a_page_are_those_of_each_job(shop: Tenant) -> None:
    halt(shop)
    jobs = [
        shop.submit({"workflow": tiny(), "priority": 5 if number == 3 else 0}, "/v1/prompts_workflow")
        for number in range(4)
    ]
    page = {job["id"]: job["current"] for job in shop.get("/v1/prompts/history").data}
    assert page == {job: shop.status(job)["current"] for job in jobs}
    assert [page[job] for job in jobs] == [1, 2, 3, 0]


def test_expected_times_grow_along_the_queue_and_a_page_has_them_too(shop: Tenant) -> None:
    stored(shop)
    busy = occupied(shop)
    jobs = [shop.sdk.submit("w", color=color).id for color in (8, 9, 10)]
    etas = [shop.status(job)["eta"] for job in jobs]
    assert all(eta > 0 for eta in etas)
    assert etas == sorted(set(etas))
    page = {job["id"]: job["eta"] for job in shop.get("/v1/prompts/history").data}
    assert all(page[job] > 0 for job in jobs)
    assert [page[job] for job in busy] == [None, None]
    cancel(shop, *busy, *jobs)


def test_positions_come_over_the_socket_with_the_expected_time(shop: Tenant) -> None:
    stored(shop)
    busy = occupied(shop)
    waiting = shop.sdk.submit("w", color=11).id
    with Ears(shop.url, shop.secret) as ears:
        told = ears.until("pendding", waiting)
        assert told["data"]["current"] == 0
        assert told["data"]["eta"] > 0
        cancel(shop, *busy)
        ears.until("finished", waiting)
        assert [message["type"] for message in ears.of(waiting)].count("pendding") == 1


def test_a_failure_tells_nothing_of_times(shop: Tenant) -> None:
    job = shop.sdk.job(run(shop, failing()))
    assert "seconds" not in list(job.events())[-1].data


# keys


def test_a_stream_does_not_outlive_its_key(shop: Tenant, gateway: GatewayProcess) -> None:
    made = comfyone("keys", "create", "--tenant", shop.name, "--json", "--state-dir", gateway.state).json
    gateway.issued.append(made["key"])
    job = run(shop, slow(steps=600, seconds=0.1))
    with (
        stream(shop.url, made["key"], job) as events,
        stream(shop.url, shop.secret, job) as good,
        gateway.client(made["key"]) as sdk,
    ):
        assert next(events)["type"] == "queued"
        through_sdk = sdk.job(job).events()
        next(through_sdk)
        comfyone("keys", "revoke", made["id"], "--state-dir", gateway.state)
        assert "succeeded" not in [event["type"] for event in events], "it ended while the job runs"
        with pytest.raises(AuthenticationError):
            list(through_sdk)
        shop.post(f"/v1/prompts/{job}/cancel")
        assert [event["type"] for event in good][-1] == "cancelled", "streams of other keys stay open"
