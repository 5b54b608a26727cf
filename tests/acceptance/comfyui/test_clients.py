"""Our own ComfyUI clients, unchanged, at a gateway: whole jobs, two tenants that see nothing of each other."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from comfyone import comfyui as clients
from comfyone.errors import ComfyExecutionError, ComfyUIError, PromptRejectedError
from tests.acceptance.comfyui.conftest import Native, picture, pixel
from tests.graphs import failing, invert_upload, sleeping, tiny


def client(native: Native, **options: Any) -> clients.ComfyUIClient:
    return clients.ComfyUIClient(url=native.url, headers={"X-API-Key": native.key}, **{"tracker": "http", **options})


def test_the_blocking_client_does_a_whole_job(comfyui: Native, tmp_path: Path) -> None:
    with client(comfyui) as ours:
        uploaded = ours.upload_image(write(tmp_path / "in.png", picture((200, 100, 50))))
        result = ours.execute_workflow(invert_upload(uploaded.name), timeout=30)
        [image] = ours.get_images(result)
        assert image.convert("RGB").getpixel((0, 0)) == (55, 155, 205)
        assert ours.get_history(result.prompt_id)
        assert ours.get_queue().pending == []
        assert ours.get_system_stats().devices
        assert "KSampler" in ours.get_object_info()
        assert ours.get_models("checkpoints")
        ours.set_setting("Comfy.A", 1)
        assert ours.get_settings()["Comfy.A"] == 1
        ours.save_userdata("workflows/a.json", {"a": 1})
        assert ours.list_userdata("workflows")
        with pytest.raises(ComfyUIError):
            ours.get_logs()


def test_the_clients_say_why_a_graph_is_refused_or_failed(comfyui: Native) -> None:
    with client(comfyui) as ours:
        graph = tiny()
        graph["1"]["inputs"]["width"] = -1
        with pytest.raises(PromptRejectedError) as refused:
            ours.queue_prompt(graph)
        assert [problem.node_id for problem in refused.value.problems] == ["1"]
        with pytest.raises(ComfyExecutionError, match="on purpose"):
            ours.execute_workflow(failing("on purpose"), timeout=30)


def test_the_blocking_client_cancels_what_waits_and_what_runs(comfyui: Native) -> None:
    with client(comfyui) as ours:
        running = ours.submit(sleeping(30, 7))
        comfyui.begun(running.prompt_id)
        waiting = ours.submit(sleeping(30, 8))
        assert ours.cancel_prompt(waiting.prompt_id)
        assert ours.cancel_prompt(running.prompt_id)
        for future in (waiting, running):
            with pytest.raises(CancelledError):
                future.result(20)


async def test_the_asynchronous_client_does_a_whole_job(comfyui: Native) -> None:
    headers = {"X-API-Key": comfyui.key}
    async with clients.AsyncComfyUIClient(url=comfyui.url, headers=headers, tracker="http") as ours:
        futures = [await ours.submit(tiny(color=color)) for color in (0x010101, 0x020202, 0x030303)]
        results = await asyncio.gather(*futures)
        colors = [(await ours.get_images(result))[0].convert("RGB").getpixel((0, 0)) for result in results]
        assert colors == [(254, 254, 254), (253, 253, 253), (252, 252, 252)]


@pytest.mark.seed("S5-46", "S5-48")
def test_two_tenants_at_once_see_nothing_of_each_other(comfyui: Native, other: Native, tmp_path: Path) -> None:
    def work(native: Native, color: int) -> tuple[set[str], list[Any]]:
        with client(native) as ours:
            name = ours.upload_image(write(tmp_path / f"{color}" / "same.png", picture((color,) * 3))).name
            futures = [ours.submit(invert_upload(name, f"mine{number}")) for number in range(4)]
            results = [future.result(30) for future in futures]
            images = [image for result in results for image in ours.get_images(result)]
            return {result.prompt_id for result in results}, [image.convert("RGB").getpixel((0, 0)) for image in images]

    with ThreadPoolExecutor(2) as pool:
        mine, theirs = pool.map(work, (comfyui, other), (10, 20))
    assert mine[1] == [(245,) * 3] * 4
    assert theirs[1] == [(235,) * 3] * 4
    assert set(comfyui.get("/history")) == mine[0]
    assert set(other.get("/history")) == theirs[0]
    for prompt_id in mine[0]:
        assert other.get(f"/history/{prompt_id}") == {}
    assert pixel(other.view({"filename": "same.png", "type": "input"}).content) == (20,) * 3


def test_a_key_in_the_address_or_as_a_password_is_enough(comfyui: Native) -> None:
    for options in ({"url": f"{comfyui.url}/k/{comfyui.key}"}, {"url": comfyui.url, "auth": ("any", comfyui.key)}):
        with clients.ComfyUIClient(tracker="http", **options) as ours:
            assert ours.get_images(ours.execute_workflow(tiny(), timeout=30))


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path
