"""The SDK in asyncio, against a server that keeps back, drops and comes back."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyone import (
    ConnectionError,
    JobCancelledError,
    JobFailedError,
    JobTimeoutError,
    NotFoundError,
    PromptPayload,
    ValidationError,
)
from comfyone.api import flows
from comfyone.api.aio.comfyone import AsyncComfyOne
from comfyone.api.aio.job import AsyncJob
from comfyone.transport.aio import AsyncTransport
from comfyone.transport.retry import RetryPolicy

from .conftest import FAST, KEY, Reply, Server, cut, ok
from .test_job import EVENTS, STATUS, a_picture, standing, streamed


@pytest.fixture
async def one(server: Server) -> AsyncIterator[AsyncComfyOne]:
    async with AsyncComfyOne(KEY, server.url) as one:
        one.api.transport.policy = FAST
        yield one


@pytest.fixture
def job(one: AsyncComfyOne) -> AsyncJob:
    return one.job("j")


def inside(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_waiting_survives_a_server_that_comes_back(job: AsyncJob, server: Server) -> None:
    server.script.extend([Reply(write=cut), Reply({}, 502), Reply({}, 503), standing("running"), standing("succeeded")])
    assert (await job.wait()).state == "succeeded"
    assert [seen.query["wait"] for seen in server.seen] == [["30"]] * 5


async def test_a_server_that_stays_away_is_given_up(
    job: AsyncJob, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "PATIENCE", 0.1)
    server.routes[STATUS] = lambda seen: Reply(write=cut)
    with pytest.raises(ConnectionError):
        await job.wait()


async def test_how_a_job_ended_is_told_by_the_type_of_the_error(job: AsyncJob, server: Server) -> None:
    error = {"type": "node", "message": "out of memory", "node_id": "3", "node_type": "KSampler"}
    server.script.extend([standing("failed", error=error), standing("cancelled")])
    with pytest.raises(JobFailedError, match=r"node 3 \(KSampler\): out of memory"):
        await job.result()
    with pytest.raises(JobCancelledError):
        await job.result()
    server.routes[STATUS] = lambda seen: standing("running")
    with pytest.raises(JobTimeoutError, match=r"within 0\.2 s; it is running") as caught:
        await job.result(timeout=0.2)
    assert caught.value.job_id == "j"


async def test_a_task_that_waits_can_be_cancelled_and_the_job_goes_on(job: AsyncJob, server: Server) -> None:
    entered = threading.Event()

    def late(handler: Any) -> None:
        entered.set()
        server.released.wait(30)
        cut(handler)

    server.script.append(Reply(write=late))
    task = asyncio.create_task(job.result())
    await asyncio.to_thread(entered.wait, 5)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 10
    server.released.set()
    server.script.append(standing("running"))
    assert (await job.status()).state == "running"
    assert {seen.method for seen in server.seen} == {"GET"}


async def test_events_resume_after_the_last_number_without_a_gap_or_a_repeat(job: AsyncJob, server: Server) -> None:
    server.script.extend(
        [
            streamed((1, "queued", {}), (2, "running", {}), end=cut),
            Reply({}, 503),
            streamed((2, "running", {}), (None, "progress", {"percent": 50}), (3, "requeued", {})),
            streamed(),
            standing("queued"),
            streamed((4, "failed", {"error": {}})),
        ]
    )
    assert [event.number async for event in job.events()] == [1, 2, None, 3, 4]
    asked = [seen.headers["Last-Event-ID"] for seen in server.seen if seen.path.endswith("/events")]
    assert asked == ["0", "2", "2", "3", "3"]


async def test_an_event_is_there_before_the_stream_ends_and_leaving_early_closes_it(
    job: AsyncJob, server: Server
) -> None:
    left = threading.Event()

    def hold(handler: Any) -> None:
        handler.connection.settimeout(5)
        assert handler.rfile.read(1) == b""  # the client has closed the connection
        left.set()

    server.script.append(streamed((1, "queued", {}), end=hold))
    async with aclosing(job.events()) as events:
        assert (await anext(events)).number == 1
    assert await asyncio.to_thread(left.wait, 5)


async def test_what_is_no_event_stream_is_told(job: AsyncJob, server: Server) -> None:
    server.routes[EVENTS] = lambda seen: Reply({"code": 404, "msg": "no job"}, 404)
    with pytest.raises(NotFoundError):
        await anext(job.events())


async def test_outputs_are_saved_whole_and_beside_what_is_there(job: AsyncJob, server: Server, tmp_path: Path) -> None:
    red, large = a_picture("red"), bytes(range(256)) * 12_000
    server.routes["GET /v1/files/a/owl.png"] = lambda seen: Reply(red)
    server.routes["GET /v1/files/b/owl.bin"] = lambda seen: Reply(large)
    outputs = [
        {"node_id": "9", "kind": "image", "name": "owl.png", "url": "/v1/files/a/owl.png", "mime": "image/png"},
        {"node_id": "7", "kind": "value", "value": {"seed": 7}},
        {"node_id": "8", "kind": "file", "name": "../owl.bin", "url": "/v1/files/b/owl.bin"},
    ]
    server.routes[STATUS] = lambda seen: standing("succeeded", outputs=outputs)
    result = await job.result()
    assert result.values == [{"seed": 7}]
    assert [output.name for output in result.files] == ["owl.png", "owl.bin"]
    assert [image.getpixel((0, 0)) for image in await result.images()] == [(255, 0, 0)]
    assert await result[0].read() == red
    folder = tmp_path / "deep" / "out"
    saves = await asyncio.gather(*(job.save(folder) for _ in range(5)))
    pictures, files = {paths[0] for paths in saves}, {paths[1] for paths in saves}
    assert len(pictures) == len(files) == 5
    assert {path.read_bytes() for path in pictures} == {red}
    assert {path.read_bytes() for path in files} == {large}
    assert len(inside(folder)) == 10
    with pytest.raises(ValidationError, match="node 7"):
        await result[1].read()


async def test_a_save_that_fails_or_is_cancelled_leaves_nothing_behind(
    one: AsyncComfyOne, server: Server, tmp_path: Path
) -> None:
    entered = threading.Event()

    def half(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 2_000_000)
        entered.set()
        server.released.wait(5)
        cut(handler)

    server.routes["GET /owl.png"] = lambda seen: Reply(write=half)
    task = asyncio.create_task(one.api.download_file("/owl.png", tmp_path))
    await asyncio.to_thread(entered.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inside(tmp_path) == []
    server.released.set()
    with pytest.raises(ConnectionError, match="broke"):
        await one.api.download_file("/owl.png", tmp_path)
    assert inside(tmp_path) == []
    server.routes["GET /owl.png"] = lambda seen: Reply(b"owl")
    assert (await one.api.download_file("/owl.png", f"{tmp_path}/new/")).read_bytes() == b"owl"


async def test_whatever_is_a_file_is_uploaded_first(one: AsyncComfyOne, server: Server, tmp_path: Path) -> None:
    server.routes["POST /v1/prompts"] = lambda seen: ok({"taskId": "t-1"})
    server.routes["POST /v1/files"] = lambda seen: ok({"Path": f"in/{len(server.seen)}.png"})
    path = tmp_path / "owl.png"
    path.write_bytes(b"from a path")
    job = await one.submit(
        "w", path=path, content=b"from bytes", file=BytesIO(b"from a file"), image=Image.new("RGB", (2, 2)), seed=7
    )
    assert job.id == "t-1"
    assert [seen.path for seen in server.seen] == ["/v1/files"] * 4 + ["/v1/prompts"]
    for seen, content in zip(server.seen, (b"from a path", b"from bytes", b"from a file", b"\x89PNG"), strict=False):
        assert content in seen.body
    inputs = server.seen[-1].json["inputs"]
    assert inputs == {"path": "in/1.png", "content": "in/2.png", "file": "in/3.png", "image": "in/4.png", "seed": 7}
    with pytest.raises(FileNotFoundError):
        await one.submit("w", image=tmp_path / "missing.png")
    with pytest.raises(ValidationError, match="input 'image'"):
        await one.submit("w", image=object())


async def test_a_run_is_one_job_whatever_happens_to_its_connection(one: AsyncComfyOne, server: Server) -> None:
    ended = {"id": "j", "taskId": "j", "state": "succeeded", "outputs": []}
    server.script.extend([Reply(write=cut), Reply({}, 502), Reply({}, 503), ok(ended)])
    one.api.transport.policy = RetryPolicy(attempts=1)
    assert list(await one.run("w", seed=1)) == []
    assert len({seen.headers["Idempotency-Key"] for seen in server.seen}) == 1
    assert [seen.query for seen in server.seen] == [{"wait": ["30"]}] * 4


async def test_a_hundred_runs_at_once_each_get_their_own_result(one: AsyncComfyOne, server: Server) -> None:
    def answer(seen: Any) -> Reply:
        number = seen.json["inputs"]["n"]
        value = {"node_id": "1", "kind": "value", "value": number}
        return ok({"id": f"j{number}", "taskId": f"j{number}", "state": "succeeded", "outputs": [value]})

    server.routes["POST /v1/prompts"] = answer
    results = await asyncio.gather(*(one.run("w", n=number) for number in range(100)))
    assert [result.values for result in results] == [[number] for number in range(100)]
    assert len({seen.headers["Idempotency-Key"] for seen in server.seen}) == 100


async def test_the_rest_interface_answers_as_it_does_without_await(one: AsyncComfyOne, server: Server) -> None:
    server.script.extend([ok([{"name": "gpu"}]), Reply({"code": 2006, "msg": "no backend"}), Reply({}, 503), ok()])
    assert (await one.api.get_available_backends()).data == [{"name": "gpu"}]
    assert (await one.api.prompt(PromptPayload(workflow_id="w", inputs={}))).code == 2006
    assert (await one.api.prompt_workflow({"1": {}}, outputs=["1"])).ok
    assert json.loads(server.seen[-1].body) == {"workflow": {"1": {}}, "outputs": ["1"]}
    with pytest.raises(ValidationError):
        await one.api.set_backend_state("gpu", "sideways")


async def test_a_client_comes_from_the_environment_and_shows_no_key(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYONE_API_KEY", KEY)
    monkeypatch.setenv("COMFYONE_DOMAIN", server.url)
    async with AsyncComfyOne.from_env(timeout=2) as one:
        assert (await one.api.get_workflows()).ok
        assert (one.base_url, repr(one)) == (server.url, f"AsyncComfyOne({server.url!r})")
        assert KEY not in f"{one!r} {one.api!r} {one.ws!r} {one.job('j')!r}"
        assert isinstance(one.api.transport, AsyncTransport)
    assert server.seen[0].headers["Authorization"] == f"Bearer {KEY}"
