"""`AsyncComfyOne` through a real gateway and a sandbox: submit, watch, wait, cancel, fetch, and a gateway that is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from comfyone import AuthenticationError, JobCancelledError, JobFailedError, JobTimeoutError, NotFoundError
from comfyone.api.aio.comfyone import AsyncComfyOne
from comfyone.api.aio.job import AsyncJob
from comfyone.emulator import Sandbox
from tests.acceptance.conftest import Tenant
from tests.graphs import failing, invert_upload, slow, speaking, tiny
from tests.support.gateway import GatewayProcess
from tests.support.pictures import opened, picture, png
from tests.support.v1 import V1
from tests.support.waiting import eventually

COLOR = {"id": "1", "type": "number", "name": "color", "minimum": 0, "maximum": 0xFFFFFF}
IMAGE = {"id": "1", "type": "image", "name": "image"}


@pytest.fixture
async def sdk(shop: Tenant) -> AsyncIterator[AsyncComfyOne]:
    """The SDK of a new tenant whose backend is the sandbox."""
    async with AsyncComfyOne(shop.secret, domain=shop.url) as client:
        yield client


async def reaches(job: AsyncJob, state: str) -> None:
    for _ in range(500):
        if (await job.status()).state == state:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"the job is not {state}")


def color_of(pixels: Any) -> Any:
    return pixels.convert("RGB").getpixel((8, 8))


async def test_each_kind_of_file_becomes_an_upload(shop: Tenant, sdk: AsyncComfyOne, tmp_path: Path) -> None:
    shop.workflow(invert_upload("placeholder.png"), [IMAGE], name="invert")
    source = tmp_path / "photo.png"
    source.write_bytes(png())
    with source.open("rb") as file:
        runs = (sdk.run("invert", image=image, timeout=20) for image in (source, file, png(), picture()))
        results = await asyncio.gather(*runs)
    assert [color_of((await result.images())[0]) for result in results] == [(55, 155, 205)] * 4


async def test_events_tell_the_whole_life_of_a_job_and_can_be_resumed(shop: Tenant, sdk: AsyncComfyOne) -> None:
    shop.workflow(slow(steps=6, seconds=0.08))
    job = await sdk.submit("w")
    events = [event async for event in job.events()]
    assert [event.type for event in events if event.number] == ["queued", "dispatched", "running", "succeeded"]
    assert [event.number async for event in job.events(after=2)] == [3, 4]
    percents = [event.percent for event in events if event.type == "progress"]
    assert len(percents) > 2
    async with aclosing(job.events()) as again:
        assert (await anext(again)).type == "queued"


async def test_a_job_is_picked_up_by_its_id_and_saved(shop: Tenant, sdk: AsyncComfyOne, tmp_path: Path) -> None:
    shop.workflow(tiny(color=0x336699))
    job_id = (await sdk.submit("w")).id
    paths = await sdk.job(job_id).save(tmp_path / "out", timeout=15)
    assert [path.parent for path in paths] == [tmp_path / "out"]
    assert opened(paths[0].read_bytes()).getpixel((0, 0)) == (0xCC, 0x99, 0x66)
    assert (await sdk.api.download_file((await sdk.job(job_id).result())[0].record.url or "", tmp_path)).exists()


async def test_ends_are_told_by_the_type_of_the_error(shop: Tenant, sdk: AsyncComfyOne) -> None:
    shop.workflow(slow(steps=100, seconds=0.1))
    shop.workflow(failing("the glue was dry"), name="failing")
    with pytest.raises(JobTimeoutError) as late:
        await sdk.run("w", timeout=0.2)
    job = sdk.job(late.value.job_id)
    await reaches(job, "running")
    status = await job.cancel()
    assert status is not None
    with pytest.raises(JobCancelledError):
        await job.result(10)
    with pytest.raises(JobFailedError, match="the glue was dry") as caught:
        await sdk.run("failing", timeout=15)
    assert caught.value.error["node_type"] == "TestFail"
    with pytest.raises(NotFoundError, match="01a200a3-0000"):
        await sdk.job("01a200a3-0000-7df5-84e2-7ffc46735000").status()


async def test_a_task_that_is_cancelled_stops_waiting_and_not_the_job(shop: Tenant, sdk: AsyncComfyOne) -> None:
    shop.workflow(slow(steps=10, seconds=0.1))
    job = await sdk.submit("w")
    waiting = [asyncio.create_task(job.result()), asyncio.create_task(drained(job))]
    await reaches(job, "running")
    for task in waiting:
        task.cancel()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
    assert len(await job.result(15)) == 1


async def drained(job: AsyncJob) -> list[Any]:
    return [event async for event in job.events()]


async def test_a_value_is_there_at_once(shop: Tenant, sdk: AsyncComfyOne) -> None:
    shop.workflow(speaking("default"), [{"id": "1", "type": "string", "name": "text"}], ["1"], name="say")
    assert (await sdk.run("say", text="grüß 'Gott' 🦉", timeout=15)).values == ["grüß 'Gott' 🦉"]


async def test_a_hundred_runs_at_once_each_give_their_own_picture(shop: Tenant, sdk: AsyncComfyOne) -> None:
    shop.workflow(tiny(), [COLOR])
    colors = [0x010101 * number + 7 for number in range(1, 101)]
    results = await asyncio.gather(*(sdk.run("w", color=color, timeout=60) for color in colors))
    for color, result in zip(colors, results, strict=True):
        expected = tuple(255 - (color >> shift & 255) for shift in (16, 8, 0))
        assert (await result[0].image()).convert("RGB").getpixel((0, 0)) == expected


@pytest.mark.seed("S1-33")
async def test_the_messages_of_all_jobs_come_over_one_socket(shop: Tenant, sdk: AsyncComfyOne) -> None:
    shop.workflow(slow(steps=4, seconds=0.05))
    heard: list[Any] = []

    async def listen() -> None:
        async for message in sdk.ws:
            heard.append(message)
            if message["type"] == "finished":
                return

    listening = asyncio.create_task(listen())
    await asyncio.to_thread(eventually, sdk.ws.is_connected)
    job = await sdk.submit("w")
    await asyncio.wait_for(listening, 15)
    assert heard[-1] == {"type": "finished", "taskId": job.id, "data": {"success": True}}
    assert "progress" in {message["type"] for message in heard}


async def test_a_wrong_key_is_told_everywhere(shop: Tenant) -> None:
    async with AsyncComfyOne("co_wrong-" + "x" * 30, domain=shop.url) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.api.get_workflows()
        with pytest.raises(AuthenticationError):
            await stranger.run("w")
        messages = aiter(stranger.ws)
        assert (await anext(messages))["data"]["error"] == "invalid_key"
        with pytest.raises(AuthenticationError):
            await anext(messages)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway of its own, which may be killed."""
    with GatewayProcess(tmp_path / "state") as gateway:
        yield gateway


async def test_whoever_waits_listens_or_runs_outlives_the_gateway(mortal: GatewayProcess) -> None:
    with Sandbox() as sandbox, mortal.client() as setup:
        setup.api.register_backend("s", url=sandbox.url).raise_for_code()
        made = setup.api.prompt_workflow(slow(steps=30, seconds=0.1), outputs=["3"]).raise_for_code()
        stored = await asyncio.to_thread(store, setup.api.transport.endpoint.base_url, mortal.key(), slow(steps=5))
        async with AsyncComfyOne(mortal.key(), domain=mortal.url) as sdk:
            job = sdk.job(made.data["id"])
            await reaches(job, "running")
            tasks: list[asyncio.Task[Any]] = [
                asyncio.create_task(work) for work in (job.result(60), drained(job), sdk.run(stored, timeout=60))
            ]
            await asyncio.sleep(0.3)
            await asyncio.to_thread(mortal.kill)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(mortal.start)
            result, events, ran = await asyncio.gather(*tasks)
            assert len(result) == len(ran) == 1
            numbers = [event.number for event in events if event.number]
            assert numbers == list(range(1, len(numbers) + 1))
            assert events[-1].type == "succeeded"
            history = (await sdk.api.get_prompt_history(limit=10)).data
        assert isinstance(history, list)
        assert len(history) == 2


def store(url: str, key: str, graph: Any) -> str:
    view = V1(url, key)
    try:
        return str(
            view.post("/v1/workflows", {"name": "w", "inputs": [], "outputs": ["3"], "workflow": graph}).data["id"]
        )
    finally:
        view.close()
