"""The clients on the server under test: what they promise of a real ComfyUI, and that the outcomes of all trackers are one."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyone.comfyui import AsyncComfyUIClient, ComfyUIClient, Terms, create_client
from comfyone.comfyui.events import Event, Preview
from comfyone.errors import ComfyExecutionError, ComfyUIError, PromptRejectedError
from tests.conformance.client import ComfyUI
from tests.graphs import failing, invert_upload, node, save, sleeping, slow, speaking, tiny
from tests.support.waiting import eventually

REAL = bool(os.environ.get("COMFYONE_TEST_COMFYUI") or os.environ.get("COMFYONE_TEST_COMFYUI_URL"))
real = pytest.mark.skipif(not REAL, reason="the sandbox has no such interface")
TRACKERS = ["websocket", "http", None]


def fresh() -> int:
    """A colour that nothing is cached for."""
    return uuid.uuid4().int % 0x1000000


@pytest.fixture
def client(comfyui: ComfyUI) -> Iterator[ComfyUIClient]:
    with ComfyUIClient(url=comfyui.url) as client:
        yield client


@pytest.mark.seed("S4-5", "S4-12", "S4-36", "S2-32")
@pytest.mark.parametrize("tracker", TRACKERS, ids=str)
def test_each_tracker_comes_to_the_same_outcomes(comfyui: ComfyUI, tracker: Any) -> None:
    with ComfyUIClient(url=comfyui.url, tracker=tracker, terms=Terms(interval=0.1)) as client:
        color = fresh()
        [picture] = client.execute_workflow(tiny(color=color), timeout=60).images
        wanted = tuple(255 - (color >> shift & 0xFF) for shift in (16, 8, 0))
        assert all(abs(a - b) <= 1 for a, b in zip(picture.getpixel((0, 0)), wanted, strict=True))  # type: ignore[arg-type]
        with pytest.raises(ComfyExecutionError, match="no luck") as caught:
            client.execute_workflow(failing("no luck", color=fresh()), timeout=60)
        assert (caught.value.node_id, caught.value.node_type) == ("2", "TestFail")
        assert caught.value.exception_type == "ValueError"
        future = client.submit(sleeping(30, color=fresh()))
        eventually(lambda: client.get_queue().running)

        def stopped() -> bool:  # it is listed as running just before the server forgets an interrupt that came early
            client.interrupt_execution(future.prompt_id)
            return not client.get_queue().running

        eventually(stopped, every=0.2)
        with pytest.raises(ComfyExecutionError) as caught:
            future.result(60)
        assert caught.value.interrupted


@pytest.mark.seed("S4-7", "S4-11", "S4-12", "S4-13", "S4-19")
async def test_the_default_tracker_resolves_its_future(comfyui: ComfyUI) -> None:
    async with create_client(comfyui.url.removeprefix("http://")) as client:
        prompt = await client.submit_workflow(tiny(color=fresh()))
        assert prompt.future is not None
        result = await asyncio.wait_for(prompt.future, 60)
        assert result.output_images[0].image.size == (64, 64)
    assert not client.ws_running


@pytest.mark.seed("S4-12")
async def test_a_hundred_at_once_all_come_out_right(comfyui: ComfyUI) -> None:
    async with AsyncComfyUIClient(url=comfyui.url) as client:
        begun = fresh() & 0xFFFF00
        executions = await asyncio.gather(*(client.execute_workflow(tiny(color=begun + n)) for n in range(100)))
        pictures = await asyncio.gather(*(execution.images() for execution in executions))
        for number, [picture] in enumerate(pictures):
            blue = picture.getpixel((0, 0))
            assert isinstance(blue, tuple)
            assert abs(blue[2] - (255 - number)) <= 1


def test_cancelling_hits_exactly_one(client: ComfyUIClient) -> None:
    running, waiting, last = (client.submit(sleeping(20, fresh())), client.submit(tiny(color=fresh())), client.submit(tiny(color=fresh())))  # fmt: skip
    eventually(lambda: client.get_queue().running)
    assert waiting.cancel()
    assert not running.done()
    assert running.cancel()
    assert last.result(60).outputs
    assert client.cancel_prompt(last.prompt_id) is False


@pytest.mark.seed("S2-21", "S5-50", "S5-51")
def test_what_is_wrong_with_a_graph_is_told_per_input(client: ComfyUIClient) -> None:
    wrong = {"1": node("EmptyImage", width="wide", height=64, batch_size=1, color=0), "2": save("1")}
    with pytest.raises(PromptRejectedError) as caught:
        client.queue_prompt(wrong)
    assert [(problem.node_id, problem.input_name) for problem in caught.value.problems] == [("1", "width")]
    with pytest.raises(PromptRejectedError) as caught:
        client.queue_prompt({"7": node("Nonsense"), "8": save("7")})
    assert [problem.node_id for problem in caught.value.problems] == ["7"]
    partly = {**tiny(color=fresh()), "8": node("LoadImage", image="missing.png"), "9": save("8")}
    execution = client.execute_workflow(partly, timeout=60)
    assert [problem.node_id for problem in execution.problems] == ["8"]
    assert len(execution.images) == 1


@pytest.mark.seed("S2-33", "S2-34", "S2-35", "S2-36", "S2-37", "S5-22", "S5-23", "S5-24", "S5-25", "S5-26", "S5-62")
def test_messages_and_previews_are_heard(client: ComfyUIClient) -> None:
    heard: dict[str, list[dict[str, Any]]] = {}
    events: list[Event] = []
    for kind in ("progress", "executing", "executed", "execution_start", "execution_cached", "status"):
        client.on(kind, lambda message: heard.setdefault(message["type"], []).append(message))
    client.listen(events.append)
    prompt_id = client.execute_workflow(slow(3, 0.05, preview=True, color=fresh()), timeout=60).prompt_id
    assert [message["data"]["value"] for message in heard["progress"]] == [1, 2, 3]
    assert heard["status"][0]["data"]["sid"] == client.client_id
    assert {"executing", "executed", "execution_start", "execution_cached"} <= heard.keys()
    previews = [event for event in events if isinstance(event, Preview)]
    assert previews
    assert {(event.prompt_id, event.node) for event in previews} == {(prompt_id, "2")}
    assert previews[0].image.size[0] > 0


def test_every_kind_of_output_is_kept(client: ComfyUIClient, tmp_path: Path) -> None:
    graph = {**tiny(color=fresh()), "7": speaking("hello")["1"]}
    execution = client.execute_workflow(graph, timeout=60)
    assert execution.texts == ["hello"]
    [path] = execution.save(tmp_path)
    with Image.open(path) as saved:
        assert saved.size == (64, 64)


@pytest.mark.seed("S2-27", "S5-18", "S5-61", "S4-27")
def test_uploads_are_used_under_the_name_that_the_answer_gives(client: ComfyUIClient) -> None:
    name = f"{uuid.uuid4().hex}.png"
    first = client.upload_image(Image.new("RGB", (8, 8), "red"), "c", name=name)
    second = client.upload_image(Image.new("RGB", (8, 8), "blue"), "c", name=name)
    assert second.name == name.replace(".png", " (1).png")
    assert client.execute_workflow(invert_upload(first.value), 60).images[0].getpixel((0, 0)) == (0, 255, 255)
    assert client.execute_workflow(invert_upload(second.value), 60).images[0].getpixel((0, 0)) == (255, 255, 0)
    masked = client.upload_mask(Image.new("RGBA", (8, 8), (0, 0, 0, 40)), first, name=f"m{name}")
    assert client.get_image(masked.name, folder_type="input", channel="a")
    with pytest.raises(ComfyUIError):
        client.get_image("nowhere.png")


@pytest.mark.seed("S2-24", "S5-6", "S5-7", "S5-8", "S5-15", "S5-16", "S5-17")
def test_what_the_server_knows_is_asked(client: ComfyUIClient) -> None:
    assert client.get_system_stats().devices[0].name
    assert "SaveImage" in client.get_object_info()
    assert list(client.get_object_info("SaveImage")) == ["SaveImage"]
    assert "checkpoints" in client.get_models()
    with pytest.raises(ComfyUIError):
        client.get_metadata("checkpoints", "none.safetensors")
    assert client.get_features()["supports_preview_metadata"]
    assert isinstance(client.get_embeddings(), list)
    assert isinstance(client.get_extensions(), list)
    assert client.free_memory(free_memory=True) == {}
    assert client.get_index()


@real
def test_the_data_of_the_user_is_kept(client: ComfyUIClient) -> None:
    name = f"workflows/{uuid.uuid4().hex}.json"
    assert client.save_userdata(name, {"nodes": []}) == name
    assert client.get_userdata(name) == b'{"nodes":[]}'
    assert client.save_userdata(name, b"\x00raw", full_info=True)["size"] == 4
    assert client.get_userdata(name) == b"\x00raw"
    with pytest.raises(ComfyUIError) as caught:
        client.save_userdata(name, "again", overwrite=False)
    assert caught.value.status == 409
    assert name.partition("/")[2] in client.list_userdata("workflows")
    assert name in [entry["path"] for entry in client.list_userdata()]
    assert client.move_userdata(name, f"{name}.old") == f"{name}.old"
    client.delete_userdata(f"{name}.old")
    with pytest.raises(ComfyUIError):
        client.get_userdata(f"{name}.old")


@real
def test_settings_are_kept(client: ComfyUIClient) -> None:
    assert client.set_setting("Comfy.Test", [1]) == {}
    assert client.get_setting("Comfy.Test") == [1]
    assert client.set_settings({"Comfy.Other": "x"}) == {}
    assert client.get_settings()["Comfy.Other"] == "x"
    client.set_setting("Comfy.Test", None)
    assert client.get_setting("Comfy.Test") is None


@real
def test_logs_folders_and_templates_are_read(client: ComfyUIClient) -> None:
    assert isinstance(client.get_logs(), str)
    assert "entries" in client.get_raw_logs()
    assert "checkpoints" in client.get_folder_paths()
    assert isinstance(client.get_server_files("output"), list)
    assert isinstance(client.get_workflow_templates(), dict)
    assert isinstance(client.get_translations(), dict)
    assert "storage" in client.get_users()
