"""The official client of Comfy API v2, as its registry has it, does all that it can against the gateway."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import comfy_sdk
import pytest
from comfy_sdk import Comfy, Job, Workflow
from comfy_sdk.router_exceptions import RateLimited

from tests.acceptance.comfy_v2.speech import V2, hash_of
from tests.acceptance.engine.conftest import MakeLab
from tests.graphs import Graph, failing, invert_upload, sleeping, slow, speaking, tiny
from tests.support.pictures import large_png, opened, png

Connect = Callable[..., Comfy]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """A client for a base URL and a key."""
    with ExitStack() as stack:

        def make(base: str, key: str | None) -> Comfy:
            monkeypatch.setenv("COMFY_BASE_URL", base)
            monkeypatch.delenv("COMFY_API_KEY", raising=False)
            return stack.enter_context(Comfy(api_key=key, client_info="tests"))

        yield make


@pytest.fixture
def client(connect: Connect, v2: V2) -> Comfy:
    return connect(v2.base, v2.key)


def workflow(client: Comfy, graph: Graph) -> Workflow:
    return client.workflows.from_json(graph)


def run(client: Comfy, graph: Graph) -> Job:
    return client.run(workflow(client, graph), timeout=30)


def color(content: bytes) -> Any:
    return opened(content).getpixel((9, 9))


# runs


def test_a_workflow_runs_and_its_result_comes_in_every_way(client: Comfy, tmp_path: Path) -> None:
    job = run(client, tiny(color=0x010203))
    assert job.status == "succeeded"
    [output] = job.outputs
    content = output.to_bytes()
    assert color(content) == (254, 253, 252)
    assert (output.size_bytes, output.content_type, output.job_id) == (len(content), "image/png", job.id)
    assert output.to_file(tmp_path / "x.png").read_bytes() == content
    stream = BytesIO()
    assert output.to_stream(stream) == len(content)
    assert stream.getvalue() == content
    assert output.to_bytes(range=(0, 7)) == content[:8]
    assert output.to_file(tmp_path / "y.png", range=(8, 15)).read_bytes() == content[8:16]
    assert [found.id for found in job.get_outputs("3")] == [output.id]
    assert job.get_outputs("1") == []
    assert job.error is None


def test_a_large_result_comes_in_parts_too(client: Comfy) -> None:
    content = large_png((9, 8, 7))
    graph = invert_upload("x")
    graph["1"]["inputs"]["image"] = client.assets.from_bytes(content, filename="large.png")
    [output] = run(client, graph).outputs
    whole = output.to_bytes()
    assert b"".join(output.to_bytes(range=(at, at + 999)) for at in range(0, len(whole), 1000)) == whole


def test_a_download_url_is_known_without_a_byte_sent(client: Comfy, v2: V2) -> None:
    job = run(client, tiny())
    found = job.outputs[0].get_download_url()
    assert found.expires_at is None
    assert v2.session.get(found.url, timeout=10).content == job.outputs[0].to_bytes()
    asset = client.assets.from_bytes(png(), filename="x.png")
    assert v2.session.get(asset.get_download_url().url, timeout=10).content == png()


def test_a_job_is_found_again_by_its_id_alone(client: Comfy) -> None:
    made = client.submit(workflow(client, tiny()), metadata={"who": "me"})
    job = client.jobs.get(made.id).wait(timeout=30)
    assert job.metadata == {"who": "me"}
    found = job.get_workflow()
    assert (found.graph, found.format) == (tiny(), "api")
    assert job.refresh().status == "succeeded"
    assert job.result() is job


def test_events_tell_the_whole_story(client: Comfy) -> None:
    job = client.submit(workflow(client, slow(30, 0.05, preview=True)))
    events = list(job.events())
    assert isinstance(events[0], comfy_sdk.StatusChange)
    assert [event.status for event in events if isinstance(event, comfy_sdk.StatusChange)][-2:] == [
        "running",
        "succeeded",
    ]
    progress = [event for event in events if isinstance(event, comfy_sdk.Progress)]
    assert progress
    assert progress[-1].nodes_total == 3
    assert any(str(event.message).startswith("TestSteps ") and event.steps == 30 for event in progress)
    previews = [event for event in events if isinstance(event, comfy_sdk.Preview)]
    assert previews
    assert previews[0].to_pil().size == (64, 64)
    [ready] = [event for event in events if isinstance(event, comfy_sdk.OutputReady)]
    assert ready.output.name.startswith("slow")
    assert events.index(ready) == len(events) - 2
    assert job.refresh().outputs[0].id == ready.output.id
    assert [event.status for event in job.events()] == ["succeeded"]  # type: ignore[union-attr]


def test_a_job_is_cancelled(client: Comfy) -> None:
    job = client.submit(workflow(client, sleeping(60)))
    assert job.cancel().status in ("canceling", "canceled")
    assert job.wait(timeout=30).status == "canceled"
    assert job.cancel().status == "canceled"
    with pytest.raises(comfy_sdk.JobFailed):
        job.result()


def test_waiting_ends_in_time_and_the_job_goes_on(client: Comfy) -> None:
    job = client.submit(workflow(client, sleeping(60)))
    with pytest.raises(TimeoutError):
        job.wait(timeout=0.1)
    assert client.jobs.get(job.id).status in ("queued", "running")
    job.cancel()


# assets


def test_assets_from_everywhere_reach_the_node(client: Comfy, tmp_path: Path) -> None:
    (tmp_path / "file.png").write_bytes(png((1, 2, 3)))
    (tmp_path / "web.png").write_bytes(png((7, 8, 9)))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        web = client.assets.from_url(f"http://127.0.0.1:{server.server_port}/web.png")
        server.shutdown()
        thread.join()
    assets = {
        (254, 253, 252): client.assets.from_file(tmp_path / "file.png"),
        (251, 250, 249): client.assets.from_bytes(png((4, 5, 6)), filename="bytes.png"),
        (248, 247, 246): web,
        (245, 244, 243): client.assets.from_stream(BytesIO(png((10, 11, 12))), filename="stream.png"),
    }
    for wanted, asset in assets.items():
        graph = workflow(client, invert_upload("x"))
        graph.set_input("1", "image", asset)
        assert color(client.run(graph, timeout=30).outputs[0].to_bytes()) == wanted
        assert asset.created_new is True


def test_bytes_are_sent_once(client: Comfy) -> None:
    content = png() + uuid.uuid4().bytes
    first = client.assets.from_bytes(content, filename="a.png")
    assert first.commit() == first.commit()
    assert first.created_new is True
    assert first.hash == hash_of(content)
    second = client.assets.from_bytes(content, filename="a.png")
    assert second.commit() == first.id
    assert second.created_new is False
    third = client.assets.from_bytes(content, filename="b.png")
    assert third.commit() != first.id
    again = client.assets.get(str(first.id))
    assert (again.id, again.file_path, again.hash) == (first.id, "a.png", first.hash)
    assert again.job_id is None


def test_an_asset_is_deleted_and_sent_again_by_the_same_handle(client: Comfy) -> None:
    asset = client.assets.from_bytes(png() + uuid.uuid4().bytes, filename="a.png")
    first = asset.commit()
    asset.delete()
    with pytest.raises(comfy_sdk.NotFound):
        client.assets.get(first)
    assert asset.commit() != first
    client.assets.delete(str(asset.id))
    with pytest.raises(comfy_sdk.NotFound):
        client.assets.delete(str(asset.id))


def test_what_a_job_made_is_an_asset(client: Comfy) -> None:
    job = run(client, tiny())
    asset = client.assets.get(job.outputs[0].id)
    assert asset.job_id == job.id
    assert asset.expires_at is not None
    graph = workflow(client, invert_upload("x"))
    graph.set_input("1", "image", asset)
    assert color(client.run(graph, timeout=30).outputs[0].to_bytes()) == (0x33, 0x66, 0x99)


def test_names_that_a_header_can_hardly_hold_are_taken(client: Comfy) -> None:
    for name in ('a"b.png', "ü b;c.png", "名.png", "x; name=y.png"):
        asset = client.assets.from_bytes(png() + uuid.uuid4().bytes, filename=name)
        asset.commit()
        assert client.assets.get(str(asset.id)).file_path == name


# lists


def test_labelled_jobs_are_listed_over_several_pages(client: Comfy) -> None:
    made = [
        client.submit(workflow(client, tiny(color=n)), metadata={"client": "acme corp", "n": str(n % 2)}).id
        for n in range(7)
    ]
    client.submit(workflow(client, tiny(color=99)))
    listed = list(client.list_jobs(metadata={"client": "acme corp"}, limit=2))
    assert [summary.id for summary in listed] == made[::-1]
    assert all(summary.create_time and summary.update_time for summary in listed)
    assert [summary.id for summary in client.list_jobs(metadata={"client": "acme corp", "n": "1"})] == made[5::-2]
    assert len(list(client.list_jobs(limit=3))) == 8
    assert client.jobs.get(listed[0].id).metadata == {"client": "acme corp", "n": "0"}


# refusals


def test_every_refusal_is_the_class_that_the_client_has_for_it(client: Comfy, connect: Connect, v2: V2) -> None:
    with pytest.raises(comfy_sdk.NotFound) as caught:
        client.jobs.get(str(uuid.uuid4()))
    assert caught.value.request_id
    with pytest.raises(comfy_sdk.InvalidWorkflow) as refused:
        client.submit(workflow(client, {"1": {"class_type": "SaveImage", "inputs": {}}}))
    assert refused.value.details
    assert "1" in refused.value.details["node_errors"]
    ui: dict[str, Any] = {"nodes": [], "links": []}
    with pytest.raises(comfy_sdk.WorkflowFormatUi):
        client.submit(Workflow(ui))
    missing = invert_upload("x")
    missing["1"]["inputs"]["image"] = {"__type": "core/ASSET", "info": {"id": str(uuid.uuid4())}}
    with pytest.raises(comfy_sdk.MissingAsset):
        client.submit(Workflow(missing))
    client.submit(workflow(client, tiny()), idempotency_key="once")
    with pytest.raises(comfy_sdk.IdempotencyKeyReuse) as reused:
        client.submit(workflow(client, tiny()), idempotency_key="once")
    assert reused.value.idempotency_key == "once"
    with pytest.raises(comfy_sdk.ComfyError) as labels:
        client.submit(workflow(client, tiny()), metadata={"no spaces": "x"})
    assert labels.value.code == "metadata_invalid"
    assert "no spaces" in str(labels.value)
    with pytest.raises(comfy_sdk.ComfyError) as filters:
        list(client.list_jobs(metadata={"a": "1", "b": "2", "c": "3", "d": "4"}))
    assert filters.value.code == "invalid_metadata_filter"
    with pytest.raises(comfy_sdk.JobFailed) as failed:
        client.run(workflow(client, failing("no luck")), timeout=30)
    assert failed.value.code == "node_execution_error"
    assert "no luck" in str(failed.value.error)
    with pytest.raises(comfy_sdk.Unauthorized):
        list(connect(v2.base, "co_wrong").list_jobs())
    with pytest.raises(comfy_sdk.Unauthorized):
        connect(v2.base, None).assets.from_bytes(b"x").commit()


def test_forbidden_graphs_are_told_so(connect: Connect, v2: V2, shop: Any) -> None:
    narrow = shop.limited("jobs")
    client = connect(v2.base, narrow.key)
    with pytest.raises(comfy_sdk.Forbidden):
        client.submit(workflow(client, tiny()))
    narrow.close()


def test_bytes_that_change_under_way_are_not_kept(client: Comfy, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png())
    asset = client.assets.from_file(path)
    assert asset.hash == hash_of(png())
    path.write_bytes(png((1, 1, 1)) + uuid.uuid4().bytes)
    with pytest.raises(comfy_sdk.HashMismatch):
        asset.commit()


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ({"max_queued": 1}, comfy_sdk.QueueFull),
        ({"max_per_minute": 3}, RateLimited),
        ({"max_backend_seconds": 0.001}, comfy_sdk.InsufficientCredits),
    ],
    ids=["queued", "per minute", "budget"],
)
def test_a_limit_is_raised_when_patience_is_over(
    own_lab: MakeLab,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    setting: dict[str, object],
    error: type[comfy_sdk.ComfyError],
) -> None:
    monkeypatch.setattr("comfy_sdk.client._QUEUE_RETRY_BUDGET", 0.0)
    backend = own_lab(1, settings=setting)
    client = connect(backend.gateway.url, backend.key)
    run(client, slow(2, 0.05))

    def submit_many() -> None:
        for number in range(
            60
        ):  # how many are taken before a limit is felt is not said; a budget is looked at now and then
            client.submit(workflow(client, sleeping(60, color=number)))
            time.sleep(0.15)

    with pytest.raises(error):
        submit_many()


def test_a_full_queue_is_waited_out_by_the_client_itself(own_lab: MakeLab, connect: Connect) -> None:
    backend = own_lab(1, settings={"max_queued": 1})
    client = connect(backend.gateway.url, backend.key)
    jobs = [client.submit(workflow(client, sleeping(0.7, color=number))) for number in range(4)]
    assert [job.wait(timeout=60).status for job in jobs] == ["succeeded"] * 4


# prefixes and tenants


def test_a_client_without_a_key_goes_by_the_path(connect: Connect, v2: V2) -> None:
    client = connect(f"{v2.base}/k/{v2.key}", None)
    job = client.submit(workflow(client, slow(10, 0.03)))
    assert [event.status for event in job.events() if isinstance(event, comfy_sdk.StatusChange)][-1] == "succeeded"
    assert job.wait(timeout=30).outputs[0].to_bytes()
    assert client.submit(workflow(client, sleeping(60))).cancel().status in ("canceling", "canceled")
    assert client.assets.from_bytes(png(), filename="x.png").commit()


def test_two_tenants_at_once_see_nothing_of_each_other(connect: Connect, v2: V2, other: V2) -> None:
    clients = [connect(one.base, one.key) for one in (v2, other)]
    seen: list[list[Any]] = [[], []]

    def work(place: int) -> None:
        client = clients[place]
        for number in range(4):
            graph = workflow(client, invert_upload("x"))
            graph.set_input("1", "image", client.assets.from_bytes(png((number, place, 0)), filename="same.png"))
            job = client.submit(graph, metadata={"same": "label"})
            assert list(job.events())
            content = job.result().outputs[0].to_bytes()
            assert color(content) == (255 - number, 255 - place, 255)
            seen[place].append(job)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(jobs) for jobs in seen] == [4, 4]
    for mine, theirs, client in ((seen[0], seen[1], clients[0]), (seen[1], seen[0], clients[1])):
        listed = [summary.id for summary in client.list_jobs(metadata={"same": "label"}, limit=3)]
        assert listed == [job.id for job in reversed(mine)]
        for job in theirs:
            for ask in (client.jobs.get, client.assets.get, client.assets.delete):
                with pytest.raises(comfy_sdk.NotFound):
                    ask(job.id if ask == client.jobs.get else job.outputs[0].id)


def test_a_text_is_read_like_a_file(client: Comfy) -> None:
    [output] = run(client, speaking("für alle")).outputs
    assert output.type == "text"
    assert output.to_bytes().decode() == "für alle"
