"""The handle on a job, against a server that keeps back, drops and comes back."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from PIL import Image

from comfyone import (
    APIError,
    ComfyOne,
    ConflictError,
    ConnectionError,
    Job,
    JobCancelledError,
    JobEvent,
    JobFailedError,
    JobTimeoutError,
    NotFoundError,
    ValidationError,
)
from comfyone.api import flows
from comfyone.transport.retry import RetryPolicy

from .conftest import FAST, KEY, Reply, Server, cut, ok

STATUS = "GET /v1/prompts/j/status"
EVENTS = "GET /v1/prompts/j/events"


def standing(state: str, **more: Any) -> Reply:
    return ok({"id": "j", "taskId": "j", "state": state, **more})


def a_picture(colour: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (4, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


def streamed(*events: tuple[int | None, str, dict[str, Any]], end: Callable[[Any], None] | None = None) -> Reply:
    """An event stream without a length, each event in chunks of its own."""

    def write(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number, kind, data in events:
            body = json.dumps({"number": number, "type": kind, "at": "2026-01-01T00:00:00Z", "data": data})
            text = f"{f'id: {number}' if number else ': no number'}\nevent: {kind}\ndata: {body}\n\n".encode()
            for piece in (text[:9], text[9:]):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                handler.wfile.flush()
        if end is not None:
            end(handler)
        else:
            handler.wfile.write(b"0\r\n\r\n")

    return Reply(write=write)


@pytest.fixture
def job(one: ComfyOne) -> Job:
    return one.job("j")


def test_a_status_is_typed_and_an_unknown_job_is_not_found(job: Job, server: Server) -> None:
    server.script.extend([standing("running", progress=40), Reply({"code": 404, "msg": "no job 'j'"}, 404)])
    assert (job.status().state, job.id) == ("running", "j")
    with pytest.raises(NotFoundError, match="no job"):
        job.status()


def test_waiting_is_one_held_request_not_many(job: Job, server: Server) -> None:
    server.script.extend([standing("running"), standing("succeeded")])
    status = job.wait()
    assert status.ended
    assert [seen.query["wait"] for seen in server.seen] == [["30"], ["30"]]


def test_a_timeout_detaches_and_says_how_the_job_stands(job: Job, server: Server) -> None:
    server.routes[STATUS] = lambda seen: standing("running")
    started = time.monotonic()
    with pytest.raises(JobTimeoutError, match="running") as caught:
        job.result(timeout=0.3)
    assert 0.25 < time.monotonic() - started < 3
    assert caught.value.job_id == "j"
    assert isinstance(caught.value, TimeoutError)
    assert {seen.method for seen in server.seen} == {"GET"}
    assert len(server.seen) < 10


def test_a_timeout_of_zero_asks_once(job: Job, server: Server) -> None:
    server.script.append(standing("queued"))
    with pytest.raises(JobTimeoutError):
        job.wait(timeout=0)
    assert [seen.query for seen in server.seen] == [{}]


def test_waiting_survives_a_server_that_comes_back(job: Job, server: Server) -> None:
    server.script.extend([Reply(write=cut), Reply({}, 502), Reply({}, 503), standing("running"), standing("succeeded")])
    assert job.wait().state == "succeeded"


def test_waiting_gives_up_on_a_server_that_stays_away(
    job: Job, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "PATIENCE", 0.1)
    server.routes[STATUS] = server.routes[EVENTS] = lambda seen: Reply(write=cut)
    with pytest.raises(ConnectionError):
        job.wait()
    with pytest.raises(ConnectionError):
        list(job.events())


def test_waiting_does_not_outlast_its_timeout_when_the_server_is_away(job: Job, server: Server) -> None:
    server.routes[STATUS] = lambda seen: Reply(write=cut)
    with pytest.raises(JobTimeoutError, match="away"):
        job.wait(timeout=0.3)


@pytest.mark.seed("S1-81")
def test_a_failed_job_raises_with_its_node(job: Job, server: Server) -> None:
    error = {"type": "node", "message": "out of memory", "node_id": "3", "node_type": "KSampler", "hint": "smaller"}
    server.script.append(standing("failed", message="out of memory", error=error))
    with pytest.raises(JobFailedError, match=r"node 3 \(KSampler\): out of memory") as caught:
        job.result()
    assert (caught.value.job_id, caught.value.error, caught.value.hint) == ("j", error, "smaller")


def test_a_cancelled_job_raises_as_such(job: Job, server: Server) -> None:
    server.script.append(standing("cancelled"))
    with pytest.raises(JobCancelledError):
        job.result()


@pytest.mark.seed("S1-81", "S1-26")
def test_cancelling_tells_how_the_job_stands_and_an_end_stays(job: Job, server: Server) -> None:
    server.script.extend([standing("running", cancelling=True), ok(), Reply({"code": 409, "msg": "ended"}, 409)])
    status = job.cancel()
    assert status is not None
    assert status.cancelling
    assert job.cancel() is None
    with pytest.raises(ConflictError):
        job.cancel()
    assert {(seen.method, seen.path) for seen in server.seen} == {("POST", "/v1/prompts/j/cancel")}


def test_events_come_in_order_and_progress_among_them(job: Job, server: Server) -> None:
    server.script.append(
        streamed(
            (1, "queued", {"position": 0}),
            (2, "running", {}),
            (None, "progress", {"percent": 50}),
            (3, "succeeded", {}),
        )
    )
    events = list(job.events())
    assert [(event.number, event.type) for event in events] == [
        (1, "queued"),
        (2, "running"),
        (None, "progress"),
        (3, "succeeded"),
    ]
    assert events[2].percent == 50
    assert server.seen[0].headers["Accept"] == "text/event-stream"


def test_a_preview_is_a_picture_and_comes_only_when_it_is_asked_for(job: Job, server: Server) -> None:
    picture = a_picture("red")
    data = {"mime": "image/png", "node_id": "3", "data": base64.b64encode(picture).decode()}
    server.script.extend([streamed((None, "preview", data), (1, "succeeded", {}))] * 2)
    assert [event.preview for event in job.events(previews=True)] == [picture, None]
    list(job.events())
    assert [seen.query.get("previews") for seen in server.seen] == [["1"], None]


def test_the_largest_preview_is_read(job: Job, server: Server) -> None:
    data = {"mime": "image/png", "node_id": None, "data": base64.b64encode(bytes(1024 * 1024)).decode()}
    server.script.append(streamed((None, "preview", data), (1, "succeeded", {})))
    assert [len(event.preview or b"") for event in job.events(previews=True)] == [1024 * 1024, 0]


def test_an_event_is_there_before_the_stream_ends(job: Job, server: Server) -> None:
    server.script.append(streamed((1, "queued", {}), end=lambda handler: (server.released.wait(20), None)[1]))
    events = job.events()
    assert next(events) == JobEvent(number=1, type="queued", at="2026-01-01T00:00:00Z")
    events.close()  # type: ignore[attr-defined]


def test_events_resume_after_the_last_number_without_a_gap_or_a_repeat(job: Job, server: Server) -> None:
    server.script.extend(
        [
            streamed((1, "queued", {}), (2, "running", {}), end=cut),
            Reply({}, 503),
            streamed((2, "running", {}), (3, "requeued", {})),
            streamed(),
            standing("queued"),
            streamed((4, "failed", {"error": {}})),
        ]
    )
    assert [event.number for event in job.events()] == [1, 2, 3, 4]
    asked = [seen.headers["Last-Event-ID"] for seen in server.seen if seen.path.endswith("/events")]
    assert asked == ["0", "2", "2", "3", "3"]


def test_a_job_that_is_silent_for_long_is_not_taken_for_a_lost_server(
    job: Job, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "PATIENCE", 0.6)
    monkeypatch.setattr(flows, "_RECONNECTS", FAST)

    def comments(handler: Any) -> None:
        for _ in range(10):
            handler.wfile.write(b"3\r\n:\n\n\r\n")
            server.released.wait(0.1)
        cut(handler)

    server.script.extend([streamed(end=comments), Reply(write=cut), streamed((1, "succeeded", {}))])
    assert [event.type for event in job.events()] == ["succeeded"]


def test_nothing_is_left_to_tell_after_the_end(job: Job, server: Server) -> None:
    server.script.extend([streamed(), standing("succeeded")])
    assert list(job.events(after=9)) == []
    assert server.seen[0].headers["Last-Event-ID"] == "9"


def test_events_of_an_unknown_job_are_not_waited_for(job: Job, server: Server) -> None:
    server.script.append(Reply({"code": 404, "msg": "no job"}, 404))
    with pytest.raises(NotFoundError):
        next(job.events())
    assert len(server.seen) == 1


def test_a_server_without_events_is_told_from_a_lost_one(job: Job, server: Server) -> None:
    server.routes[EVENTS] = lambda seen: ok()
    with pytest.raises(APIError, match="instead of 'text/event-stream'"):
        next(job.events())


def test_an_event_that_can_not_be_read_is_told_at_once(job: Job, server: Server) -> None:
    headers = {"Content-Type": "text/event-stream"}
    for text in (b"data: no json\n\n", b"data: [1]\n\n", b'event: x\ndata: {"number": {}}\n\n'):
        server.script.append(Reply(text, headers=headers))
        with pytest.raises(APIError, match="can't be read"):
            list(job.events())


def test_outputs_are_files_and_values_in_declared_order(job: Job, server: Server, tmp_path: Path) -> None:
    red, blue = a_picture("red"), a_picture("blue")
    server.routes["GET /v1/files/a/owl.png"] = lambda seen: Reply(red)
    server.routes["GET /v1/files/b/owl.png"] = lambda seen: Reply(blue)
    outputs = [
        {"node_id": "9", "kind": "image", "name": "owl.png", "url": "/v1/files/a/owl.png", "mime": "image/png"},
        {"node_id": "7", "kind": "value", "value": {"seed": 7}},
        {"node_id": "8", "kind": "image", "name": "../../owl.png", "url": "/v1/files/b/owl.png", "mime": "image/png"},
    ]
    server.script.append(standing("succeeded", outputs=outputs))
    result = job.result()
    assert [output.record.node_id for output in result] == ["9", "7", "8"]
    assert result.values == [{"seed": 7}]
    assert [image.getpixel((0, 0)) for image in result.images] == [(255, 0, 0), (0, 0, 255)]
    folder = tmp_path / "deep" / "out"
    assert result.save(folder) == [folder / "owl.png", folder / "owl (1).png"]
    assert [path.read_bytes() for path in result.save(folder)] == [red, blue]
    assert sorted(path.name for path in folder.iterdir()) == ["owl (1).png", "owl (2).png", "owl (3).png", "owl.png"]
    assert list(tmp_path.iterdir()) == [tmp_path / "deep"]
    with pytest.raises(ValidationError, match="node 7"):
        result[1].read()


def test_a_result_that_can_not_be_fetched_is_a_typed_error(job: Job, server: Server, tmp_path: Path) -> None:
    server.script.extend(
        [standing("succeeded", images=["/v1/files/a/owl.png"]), Reply({"code": 404, "msg": "gone"}, 404)]
    )
    with pytest.raises(NotFoundError, match="gone"):
        job.save(tmp_path / "out")
    assert list((tmp_path / "out").glob("*") if (tmp_path / "out").exists() else []) == []


def test_an_answer_that_is_no_status_is_an_error_not_a_guess(job: Job, server: Server) -> None:
    server.script.extend([ok({"status": "running"}), ok(), Reply({"code": 2001, "msg": "odd"})])
    for _ in range(3):
        with pytest.raises(APIError):
            job.status()


@pytest.mark.seed("S1-25", "S1-82")
def test_the_hosted_service_is_polled_for_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "_POLLS", RetryPolicy(base=0.001, cap=0.001))
    url = "https://pandora-server-cf.onethingai.com/v1/prompts/j/status"
    steps: list[dict[str, Any]] = [{"status": "pendding"}, {"status": "running"}, {"status": "running"}]
    end = {
        "status": "finished",
        "message": "success",
        "images": ["https://files.onethingai.com/o/a.png"],
        "cost_time": 2,
    }
    answers = [{"json": {"code": 0, "msg": "", "data": {"taskId": "j", **step}}} for step in [*steps, end]]
    with requests_mock.Mocker() as hosted:
        hosted.get(url, answers)
        job = ComfyOne(KEY).job("j")
        assert [event.type for event in job.events()] == ["queued", "running", "succeeded"]
        hosted.get(url, answers)
        hosted.get("https://files.onethingai.com/o/a.png", content=a_picture("red"))
        result = job.result(timeout=30)
        assert result[0].name == "a.png"
        assert result.images[0].size == (4, 3)
    assert all(not request.query and "Idempotency-Key" not in request.headers for request in hosted.request_history)
    assert hosted.request_history[-1].headers["Authorization"] == f"Bearer {KEY}"
