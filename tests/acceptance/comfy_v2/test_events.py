"""The event stream of Comfy API v2, over raw HTTP."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from tests.acceptance.comfy_v2.speech import TERMINAL, V2, Frame
from tests.acceptance.engine.conftest import MakeLab
from tests.graphs import failing, sleeping, slow, speaking, tiny
from tests.support.pictures import opened
from tests.support.waiting import eventually


def statuses(frames: list[Frame]) -> list[str]:
    found = [data["status"] for kind, data in frames if kind == "status"]
    return [status for number, status in enumerate(found) if not number or found[number - 1] != status]


def test_a_stream_tells_all_from_the_queue_to_the_results_and_ends(v2: V2) -> None:
    blocker = v2.submit(slow(10, 0.05))["id"]
    job_id = v2.submit(slow(30, 0.05, color=9))["id"]
    frames = v2.told(job_id)
    assert frames[0][0] == "status"
    assert frames[0][1]["queue_position"] >= 1
    assert statuses(frames) == ["queued", "running", "succeeded"]
    kinds = [kind for kind, _ in frames]
    assert kinds[-2:] == ["output", "status"]
    assert frames[-1][1]["status"] == "succeeded"
    [output] = [data for kind, data in frames if kind == "output"]
    assert output == v2.job(job_id)["outputs"][0]
    progress = [data for kind, data in frames if kind == "progress"]
    assert 2 <= len(progress) <= 8, "two a second"
    assert [data["value"] for data in progress] == sorted(data["value"] for data in progress)
    [*_, steps] = [data for data in progress if data["current_node_class"] == "TestSteps"]
    assert steps["message"] == f"TestSteps {steps['step']}/30"
    assert all(data["nodes_total"] == 3 for data in progress)
    assert statuses(v2.told(blocker)) == ["succeeded"]


def test_a_finished_job_is_told_at_once(v2: V2) -> None:
    for graph, status in ((tiny(), "succeeded"), (failing(), "failed")):
        job_id = v2.run(graph)["id"]
        assert v2.told(job_id) == [("status", {"status": status, "queue_position": None})]


def test_previews_come_as_pictures_and_the_latest_to_whoever_comes_late(v2: V2) -> None:
    job_id = v2.submit(slow(60, 0.05, preview=True))["id"]
    with v2.events(job_id) as frames:
        first = next(data for kind, data in frames if kind == "preview")
    picture = base64.b64decode(first["data_base64"], validate=True)
    assert first["content_type"] in ("image/jpeg", "image/png")
    assert opened(picture).size == (64, 64)
    assert first["node_id"] == "2"
    with v2.events(job_id) as frames:
        kinds = [next(frames)[0] for _ in range(3)]
    assert kinds == ["status", "progress", "preview"]
    v2.post(f"/jobs/{job_id}/cancel")


def test_cancelling_is_told(v2: V2) -> None:
    job_id = v2.submit(sleeping(60))["id"]
    v2.reaches(job_id, "running")
    with v2.events(job_id) as frames:
        assert next(frames)[1]["status"] == "running"
        v2.post(f"/jobs/{job_id}/cancel")
        rest = statuses(list(frames))
    assert rest == ["canceling", "canceled"]


def test_what_is_not_ascii_is_escaped(v2: V2) -> None:
    text = "a\u2028b\u0085c\u000bdé"
    blocker = v2.submit(sleeping(1))["id"]
    graph = speaking("x")
    graph["3\u2028é"] = {"class_type": "TestText", "inputs": {"text": text}}
    job_id = v2.submit(graph)["id"]
    with v2.raw("GET", f"/jobs/{job_id}/events", stream=True) as answer:
        content = answer.content
    assert content.isascii()
    assert b"\x0b" not in content
    outputs = [json.loads(line[6:]) for line in content.split(b"\n") if b'"size_bytes"' in line]
    assert {output["node_id"] for output in outputs} == {"1", "3\u2028é"}
    assert all(frame.startswith(b"event: ") for frame in content.split(b"\n\n") if frame and frame[:1] != b":")
    v2.job(blocker)


def test_streams_are_counted_by_tenant_and_given_back(own_lab: MakeLab) -> None:
    backend = own_lab(1, settings={"max_streams": 2})
    v2, other = V2(backend.gateway.url, backend.key), V2(backend.gateway.url, backend.gateway.key("other"))
    job_id = v2.submit(sleeping(60))["id"]

    def listen() -> requests.Response | None:
        """A stream, once there is room for one."""
        answer = v2.raw("GET", f"/jobs/{job_id}/events", stream=True)
        if answer.status_code == 200:
            return answer
        answer.close()
        return None

    for _ in range(5):
        streams = [eventually(listen), eventually(listen)]
        refused = v2.get(f"/jobs/{job_id}/events")
        refused.refused(429, "too_many_streams")
        assert refused.headers["Retry-After"] == "5"
        assert v2.job(job_id)["status"] in ("queued", "running"), "polls stay free"
        other.get(f"/jobs/{job_id}/events").refused(404, "not_found")
        for stream in streams:
            assert stream is not None
            stream.close()
    for _ in range(4):  # whoever leaves before a byte was taken gives back as well
        address = urlsplit(v2.base)
        with socket.create_connection((address.hostname or "", address.port or 80)) as wire:
            head = f"GET /api/v2/jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {v2.key}\r\n\r\n"
            wire.sendall(head.encode())
    last = eventually(listen)
    assert last is not None
    last.close()
    v2.post(f"/jobs/{job_id}/cancel")
    v2.reaches(job_id, "canceled")
    for _ in range(5):  # each gives back what it held
        assert eventually(lambda: _told(v2, job_id))[-1][1]["status"] == "canceled"
    v2.close()
    other.close()


def test_a_silent_job_is_kept_alive_and_a_revoked_key_hears_no_more(own_lab: MakeLab) -> None:
    backend = own_lab(1)
    v2 = V2(backend.gateway.url, backend.key)
    job_id = v2.submit(sleeping(90))["id"]
    v2.reaches(job_id, "running")
    with v2.raw("GET", f"/jobs/{job_id}/events", stream=True) as answer:
        lines: Iterator[bytes] = answer.iter_lines(chunk_size=1)
        assert any(line.startswith(b":") for line in lines)  # the session itself waits for 30 seconds, no longer
    short = V2(v2.base, backend.gateway.key("acme", expires_in=2.0))
    ended = threading.Event()

    def listen() -> None:
        with short.events(job_id) as frames:
            assert all(data.get("status") not in TERMINAL for _, data in frames)
        ended.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert ended.wait(15)
    thread.join()
    v2.post(f"/jobs/{job_id}/cancel")
    short.close()
    v2.close()


def _told(v2: V2, job_id: str) -> list[Frame]:
    """What a stream tells; nothing while there is no room for one."""
    try:
        return v2.told(job_id)
    except AssertionError:
        return []
