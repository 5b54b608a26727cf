"""The names of comfy-api-client, row by row, and what its original gets wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyone.comfyui import (
    ComfyAPIClient,
    HTTPStateTracker,
    PromptResponse,
    PromptResult,
    WebsocketStateTracker,
    create_client,
    utils,
)
from comfyone.emulator import Sandbox
from comfyone.errors import (
    ComfyExecutionError,
    InvalidArgumentError,
    NotComfyUIError,
    PromptRejectedError,
    ServerUnreachableError,
)
from tests.graphs import failing, node, sleeping, speaking, tiny
from tests.support.waiting import eventually
from tests.unit.comfyui.conftest import FAST, QUICK
from tests.unit.comfyui.front import Front
from tests.unit.sdk.conftest import Reply, Server


async def until(predicate: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await predicate():  # noqa: ASYNC110  what is waited for happens on a server
            await asyncio.sleep(0.01)


async def ended(client: ComfyAPIClient) -> bool:
    return await client.poll() == 0


async def runs(client: ComfyAPIClient) -> bool:
    return bool((await client.get_queue()).running)


TRACKERS = ["websocket", "http", None]


@pytest.mark.seed("S4-2", "S4-3", "S4-7", "S4-8", "S4-9", "S4-11", "S4-12", "S4-13", "S4-25")
async def test_the_first_future_of_the_default_tracker_resolves_and_the_context_ends_well(sandbox: Sandbox) -> None:
    bare = sandbox.url.removeprefix("http://")
    async with create_client(bare) as client:
        assert client.base_url == sandbox.url
        print(await client.get_system_stats())
        prompt = await client.submit_workflow(tiny(color=0x102030))
        assert prompt.future is not None
        result = await asyncio.wait_for(prompt.future, 20)
        assert isinstance(result, PromptResult)
        assert result.prompt_id == prompt.prompt_id
        [item] = result.output_images
        assert item.image.getpixel((0, 0)) == (0xEF, 0xDF, 0xCF)
        assert (item.filename, item.format) == ("tiny_00001_.png", "png")
        assert client.ws_running
    assert not client.ws_running
    eventually(lambda: sandbox.sockets == 0)


@pytest.mark.seed("S4-5", "S4-14", "S4-15", "S4-18")
@pytest.mark.parametrize("tracker", TRACKERS)
async def test_every_tracker_gives_the_same_outcomes(sandbox: Sandbox, tracker: Any) -> None:
    async with create_client(sandbox.url, start_state_tracker=tracker, policy=FAST, terms=QUICK) as client:

        async def outcome(graph: dict[str, Any]) -> PromptResult:
            with pytest.warns(UserWarning, match="no state tracker") if tracker is None else nullcontext():
                prompt = await client.submit_workflow(graph)
            assert prompt.future is not None
            if tracker is None:
                await until(lambda: ended(client))
            return await asyncio.wait_for(prompt.future, 20)

        assert len((await outcome(tiny())).output_images) == 1
        with pytest.raises(ComfyExecutionError, match="no luck"):
            await outcome(failing("no luck"))
        result = await outcome(speaking("hello"))
        assert result.output_images == []
        assert result.execution is not None
        assert result.execution.texts == ["hello"]
        with pytest.raises(PromptRejectedError):
            await client.submit_workflow({"1": node("Nonsense")}, return_future=False)


@pytest.mark.seed("S4-15", "S4-16", "S4-17")
async def test_results_are_fetched_by_hand_whenever_that_is(sandbox: Sandbox) -> None:
    async with create_client(sandbox.url, start_state_tracker=None) as client:
        prompt = await client.submit_workflow(sleeping(0.3), return_future=False)
        assert isinstance(prompt, PromptResponse)
        assert (prompt.future, prompt.node_errors) == (None, {})
        result = await client.fetch_results(prompt)  # it is not finished yet: that is waited for
        assert len(result.output_images) == 1
        assert (await client.fetch_results(prompt.prompt_id)).prompt_id == prompt.prompt_id
        with pytest.raises(ValueError, match="PromptResponse"):
            await client.fetch_results(3)  # type: ignore[arg-type]
        failed = await client.submit_workflow(failing(), return_future=False)
        with pytest.raises(ComfyExecutionError):
            await client.fetch_results(failed)


@pytest.mark.seed("S4-24", "S4-34", "S4-35")
async def test_trackers_are_started_stopped_and_exchanged(sandbox: Sandbox) -> None:
    async with create_client(sandbox.url, start_state_tracker=None) as client:
        http = HTTPStateTracker(client, update_interval=0.02)
        await http.start()
        assert http.is_running
        prompt = await client.submit_workflow(tiny())
        assert prompt.future is not None
        await asyncio.wait_for(prompt.future, 20)
        assert not client.ws_running
        await http.stop()
        assert not http.is_running
        socket = WebsocketStateTracker(client, reconnect_attempts=1, reconnect_delay=0.1)
        await socket.start()
        client.remove_state_tracker(socket)
        client.register_state_tracker(socket)
        assert client.ws_running
        assert (client.reconnect_attempts, client.reconnect_delay) == (1, 0.1)
    assert not socket.is_running
    with pytest.raises(InvalidArgumentError):
        WebsocketStateTracker(client, colour="red")
    with pytest.raises(InvalidArgumentError):
        WebsocketStateTracker(client, use_secure_websocket=True)
    with pytest.raises(InvalidArgumentError):
        HTTPStateTracker(client, update_interval=0)


@pytest.mark.seed("S4-23", "S4-24")
async def test_settings_of_the_tracker_are_passed_on(sandbox: Sandbox) -> None:
    kwargs = {"update_interval": 0.01}
    async with create_client(sandbox.url, 5.0, "http", kwargs) as client:
        assert client.book.terms.interval == 0.01
        assert client.timeout == 5.0


@pytest.mark.seed("S4-8")
def test_https_gives_a_secure_socket_and_a_path_prefix_is_kept() -> None:
    assert ComfyAPIClient("https://gpu.example/comfy/").ws_url == "wss://gpu.example/comfy/ws"
    assert ComfyAPIClient("gpu.example:8188").get_endpoint_url("prompt") == "http://gpu.example:8188/prompt"
    with pytest.raises(ValueError, match="ftp"):
        ComfyAPIClient("ftp://gpu.example")


async def test_a_prefix_and_the_headers_of_a_given_client_go_along(sandbox: Sandbox) -> None:
    class Given:
        headers = {"X-Tenant": "acme-corp", "User-Agent": "httpx"}  # noqa: RUF012

    with Front(sandbox.url, "/comfy", {"X-Tenant": "acme-corp"}) as front:
        async with ComfyAPIClient(front.url, Given()) as client:
            assert (await client.get_queue()).pending == []
    assert front.headers[0]["User-Agent"] != "httpx"


@pytest.mark.seed("S4-25")
async def test_a_server_that_is_not_there_is_found_out_at_once(server: Server) -> None:
    with pytest.raises(ServerUnreachableError):
        async with create_client("127.0.0.1:9", policy=FAST):
            raise AssertionError("it was created")
    with pytest.raises(ValueError, match="pigeon"):
        async with create_client(server.url, start_state_tracker="pigeon"):  # type: ignore[arg-type]
            raise AssertionError("it was created")
    server.routes["GET /"] = lambda seen: Reply(b"", 404)
    server.routes["GET /system_stats"] = lambda seen: Reply(b"", 404)
    with pytest.raises(NotComfyUIError):
        async with create_client(server.url, policy=FAST):
            raise AssertionError("it was created")


@pytest.mark.seed("S4-30", "S4-31", "S4-32")
async def test_prompts_are_cancelled_cleared_and_interrupted(sandbox: Sandbox) -> None:
    async with create_client(sandbox.url) as client:
        prompts = [await client.submit_workflow(sleeping(30, color)) for color in range(4)]
        await until(lambda: runs(client))
        queue = await client.get_queue()
        assert queue.running[0].prompt_id == prompts[0].prompt_id
        assert queue.running[0].outputs_to_execute == ("3",)
        assert [entry.prompt_id for entry in queue.pending] == [prompt.prompt_id for prompt in prompts[1:]]
        assert await client.cancel_prompts([prompts[1].prompt_id]) is None  # type: ignore[func-returns-value]
        assert prompts[1].prompt_id not in (await client.get_queue()).ids()
        await client.clear_queue()
        assert (await client.get_queue()).ids() == {prompts[0].prompt_id}
        await client.interrupt_processing()
        for prompt in prompts:
            assert prompt.future is not None
        with pytest.raises(ComfyExecutionError):
            await asyncio.wait_for(prompts[0].future, 20)  # type: ignore[arg-type]
        for prompt in prompts[1:]:
            with pytest.raises(asyncio.CancelledError):
                await prompt.future  # type: ignore[misc]


@pytest.mark.seed("S4-29", "S4-33")
async def test_the_history_is_read_and_forgotten(sandbox: Sandbox) -> None:
    async with create_client(sandbox.url) as client:
        good = (await client.fetch_results(await client.submit_workflow(tiny(), False))).prompt_id
        bad = await client.submit_workflow(failing(), False)
        with pytest.raises(ComfyExecutionError):
            await client.fetch_results(bad)
        assert list(await client.get_history()) == [good, bad.prompt_id]
        assert list(await client.get_history(good)) == [good]
        assert list(await client.get_history(max_items=1)) == [bad.prompt_id]
        assert list(await client.get_completed_prompts()) == [good]
        await client.remove_from_history([good])
        assert list(await client.get_history()) == [bad.prompt_id]
        await client.clear_history()
        assert await client.get_history() == {}
        await client.free_memory(unload_models=True, free_memory=True)


@pytest.mark.seed("S4-27", "S4-28", "S4-37")
async def test_pictures_go_up_and_come_back(sandbox: Sandbox, tmp_path: Path) -> None:
    async with create_client(sandbox.url) as client:
        picture = Image.new("RGB", (6, 5), "red")
        told = await client.upload_image("test.png", picture)
        assert (told.name, told.subfolder, told.type) == ("test.png", "", "input")
        picture.save(tmp_path / "file.png")
        deep = await client.upload_image("deep.png", tmp_path / "file.png", subfolder="images", type="output")
        assert (deep.subfolder, deep.type) == ("images", "output")
        mask = await client.upload_mask("mask.png", Image.new("RGBA", (6, 5)), told)
        assert mask.name == "mask.png"
        item = await client.retrieve_image("deep.png", "images", "output")
        assert item is not None
        assert (item.filename, item.format, item.image.size) == ("deep.png", "png", (6, 5))
        assert await client.retrieve_image("missing.png") is None
        assert await client.retrieve_metadata("checkpoints", "missing.safetensors") is None
        again = await client.upload_image("test.png", Image.new("RGB", (6, 5), "blue"))
        assert again.name == "test.png"  # it is overwritten unless said otherwise
        assert (await client.upload_image("test.png", picture, overwrite=False)).name == "test (1).png"


@pytest.mark.seed("S4-1", "S4-26")
async def test_what_the_original_leaves_out_is_there(sandbox: Sandbox) -> None:
    async with create_client(sandbox.url) as client:
        assert "KSampler" in await client.get_object_info()
        assert list(await client.get_node_info("KSampler")) == ["KSampler"]
        assert len(await client.get_embeddings()) == 0
        assert list(await client.get_extensions()) == []
        assert "ComfyUI" in await client.get_index()
        stats = await client.get_system_stats()
        assert stats.system.python_version
        assert stats.devices[0].type == "cpu"


async def test_metadata_and_names_are_read_as_the_server_sends_them(server: Server) -> None:
    async with ComfyAPIClient(server.url) as client:
        server.script.append(Reply({"foo": "bar"}))
        assert await client.retrieve_metadata("embeddings", "x.safetensors") == {"foo": "bar"}
        content = utils.image_to_buffer(Image.new("RGB", (2, 2)), "JPEG").read()
        server.script.append(Reply(content, headers={"Content-Disposition": 'filename="a b=c.jpg"'}))
        item = await client.retrieve_image("x/other.jpg")
        assert item is not None
        assert (item.filename, item.format) == ("a b=c.jpg", "jpeg")


@pytest.mark.seed("S4-4", "S4-10")
def test_helpers_change_copies_of_graphs(tmp_path: Path) -> None:
    graph = {
        "3": node("KSampler", seed=1, steps=4, model=["4", 0]),
        "4": node("KSamplerAdvanced", noise_seed=2, seed=["9", 0]),
    }
    changed = utils.replace_noise_seeds(graph, 77)
    assert (changed["3"]["inputs"]["seed"], changed["4"]["inputs"]["noise_seed"]) == (77, 77)
    assert changed["4"]["inputs"]["seed"] == ["9", 0]  # a link stays a link
    assert graph["3"]["inputs"]["seed"] == 1
    first, second = utils.randomize_noise_seeds(graph), utils.randomize_noise_seeds(graph)
    assert first["3"]["inputs"]["seed"] != second["3"]["inputs"]["seed"]
    assert utils.replace_noise_seeds(graph, 5, ["noise_seed"])["3"]["inputs"]["seed"] == 1
    assert utils.replace_dict_values(graph, "inputs.steps", 9, copy=True)["3"]["inputs"]["steps"] == 9
    assert utils.replace_dict_values(graph, "steps", 9, start_at_root=True)["3"]["inputs"]["steps"] == 4
    assert utils.replace_dict_values(graph, ["3", "inputs", "steps"], 8) is graph
    assert graph["3"]["inputs"]["steps"] == 8
    (tmp_path / "graph.json").write_text('\ufeff{"1": {}}', encoding="utf-8")
    assert utils.read_json(tmp_path / "graph.json") == {"1": {}}


def test_a_call_is_tried_again_and_the_last_error_gets_through() -> None:
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("not yet")
        return "done"

    assert utils.retry_fn(flaky, retries=3, delay=0.001)() == "done"
    tries.clear()
    with pytest.raises(OSError, match="not yet"):
        utils.retry_fn(flaky, retries=2, delay=0.001)()
    assert len(tries) == 2


async def test_a_coroutine_is_tried_again() -> None:
    tries: list[int] = []

    async def flaky() -> str:
        tries.append(1)
        if len(tries) < 2:
            raise OSError("not yet")
        return "done"

    assert await utils.async_retry_fn(flaky, retries=2, delay=0.001)() == "done"


def test_a_connection_is_checked(sandbox: Sandbox) -> None:
    assert utils.check_connection(sandbox.url)
    assert utils.check_connection(sandbox.url.removeprefix("http://"))
    assert not utils.check_connection(sandbox.url + "/nowhere")
    assert not utils.check_connection("127.0.0.1:9", delay=0.01, timeout=0.05)


@pytest.mark.seed("S4-8")
def test_a_url_is_taken_apart_and_completed() -> None:
    parts = utils.parse_url("localhost:8188")
    assert (parts.scheme, parts.netloc) == ("http", "localhost:8188")
    assert utils.parse_url("gpu.example", "https").scheme == "https"
    assert utils.full_url("https://gpu.example/comfy/") == "https://gpu.example/comfy"
    with pytest.raises(ValueError, match="ws"):
        utils.full_url("ws://gpu.example")


def test_a_picture_becomes_a_file_in_memory() -> None:
    with Image.open(utils.image_to_buffer(Image.new("RGBA", (2, 3)))) as jpeg:
        assert (jpeg.format, jpeg.size) == ("JPEG", (2, 3))
    with Image.open(utils.image_to_buffer(Image.new("RGBA", (2, 3)), "png")) as png:
        assert png.mode == "RGBA"
