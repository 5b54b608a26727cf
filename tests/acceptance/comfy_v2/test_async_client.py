"""The official client in its asynchronous form."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import comfy_sdk
import pytest
import pytest_asyncio
from comfy_sdk import AsyncComfy

from tests.acceptance.comfy_v2.speech import V2, hash_of
from tests.graphs import failing, invert_upload, sleeping, slow, tiny
from tests.support.pictures import opened, png


@pytest_asyncio.fixture
async def client(monkeypatch: pytest.MonkeyPatch, v2: V2) -> AsyncIterator[AsyncComfy]:
    monkeypatch.setenv("COMFY_BASE_URL", v2.base)
    async with AsyncComfy(api_key=v2.key) as connected:
        yield connected


async def test_a_workflow_with_an_asset_runs_and_its_result_comes(client: AsyncComfy, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png((1, 2, 3)))
    for asset in (
        client.assets.from_file(tmp_path / "x.png"),
        client.assets.from_bytes(png((1, 2, 3)), filename="y.png"),
        client.assets.from_stream(BytesIO(png((1, 2, 3))), filename="z.png"),
    ):
        workflow = client.workflows.from_json(invert_upload("x"))
        workflow.set_input("1", "image", asset)
        job = await client.run(workflow, timeout=30)
        [output] = job.outputs
        content = await output.to_bytes()
        assert opened(content).getpixel((9, 9)) == (254, 253, 252)
        assert await output.to_bytes(range=(1, 3)) == content[1:4]
        assert (await output.to_file(tmp_path / "out.png")).read_bytes() == content
        assert (await output.get_download_url()).url.endswith("/content")
        assert job.get_outputs("3")[0].id == output.id


async def test_an_asset_from_the_web_is_committed_found_and_deleted(client: AsyncComfy, tmp_path: Path) -> None:
    content = png() + uuid.uuid4().bytes
    (tmp_path / "web.png").write_bytes(content)

    def handler(*arguments: object) -> SimpleHTTPRequestHandler:
        return SimpleHTTPRequestHandler(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = asyncio.create_task(asyncio.to_thread(server.serve_forever))
        asset = await client.assets.from_url(f"http://127.0.0.1:{server.server_port}/web.png")
        server.shutdown()
        await serving
    assert await asset.commit() == asset.id
    assert asset.hash == hash_of(content)
    found = await client.assets.get(str(asset.id))
    assert found.file_path == "web.png"
    assert (await found.get_download_url()).url.endswith(f"{asset.id}/content")
    await asset.delete()
    with pytest.raises(comfy_sdk.NotFound):
        await client.assets.delete(str(found.id))


async def test_events_lists_and_cancelling(client: AsyncComfy) -> None:
    jobs = [
        await client.submit(client.workflows.from_json(slow(8, 0.05, color=n)), metadata={"a": "b"}) for n in range(3)
    ]
    told = await asyncio.gather(*(_told(job) for job in jobs))
    assert all(isinstance(events[-2], comfy_sdk.OutputReady) for events in told)
    assert all(events[-1] == comfy_sdk.StatusChange("succeeded") for events in told)
    listed = [summary.id async for summary in client.list_jobs(metadata={"a": "b"}, limit=2)]
    assert listed == [job.id for job in reversed(jobs)]
    found = await client.jobs.get(listed[0])
    assert (await found.get_workflow()).graph == slow(8, 0.05, color=2)
    assert (await found.refresh()).metadata == {"a": "b"}
    long = await client.submit(client.workflows.from_json(sleeping(60)))
    assert (await long.cancel()).status in ("canceling", "canceled")
    assert (await long.wait(timeout=30)).status == "canceled"


async def test_refusals_are_the_same_classes(client: AsyncComfy) -> None:
    with pytest.raises(comfy_sdk.NotFound):
        await client.jobs.get("nothing")
    with pytest.raises(comfy_sdk.InvalidWorkflow):
        await client.submit(client.workflows.from_json({"1": {"class_type": "SaveImage", "inputs": {}}}))
    with pytest.raises(comfy_sdk.JobFailed):
        await client.run(client.workflows.from_json(failing()))
    await client.submit(client.workflows.from_json(tiny()), idempotency_key="once", api_key="sk-partner")
    with pytest.raises(comfy_sdk.IdempotencyKeyReuse):
        await client.submit(client.workflows.from_json(tiny()), idempotency_key="once")


async def _told(job: comfy_sdk.AsyncJob) -> list[comfy_sdk.Event]:
    return [event async for event in job.events()]
