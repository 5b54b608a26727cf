"""The socket and the HTTP side of one ComfyUI agree, as its operator runs it: what is told of can be had at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.comfyui.conftest import Native
from tests.acceptance.comfyui.stage import Ears, kinds
from tests.graphs import Graph, save, sleeping, slow, tiny
from tests.support.gateway import GatewayProcess
from tests.support.v1 import V1


def ears(url: str, key: str, client_id: str = "page") -> Any:
    return Ears.open(url, f"clientId={client_id}", key=key)


async def queue(comfyui: Native, graph: Graph, **more: Any) -> str:
    return await asyncio.to_thread(comfyui.queue, graph, client_id="page", **more)


@pytest.mark.seed("S5-21", "S5-23", "S5-24", "S5-26", "S5-36", "S5-37", "S5-39")
async def test_when_the_end_is_told_the_history_has_it_as_it_was_told(comfyui: Native) -> None:
    graph = {**tiny(color=0x123456), "4": save("1", "deep/er")}
    async with ears(comfyui.url, comfyui.key) as page:
        prompt_id = await queue(comfyui, graph)
        heard = await page.over(prompt_id)
        entry = (await asyncio.to_thread(comfyui.get, f"/history/{prompt_id}"))[prompt_id]
    told = {data["node"]: data["output"] for type_, data in heard if type_ == "executed"}
    assert told == entry["outputs"]
    assert told.keys() == {"3", "4"}
    assert kinds(heard)[-3:] == ["execution_success", "status", "executing"]


async def test_a_file_that_a_running_prompt_tells_of_can_be_viewed_at_once(comfyui: Native) -> None:
    graph = {**tiny(color=0x654321), "4": {**sleeping(30.0)["2"]}, "5": save("4", "late")}
    async with ears(comfyui.url, comfyui.key) as page:
        prompt_id = await queue(comfyui, graph)
        _, data = await page.until("executed", node="3")
        [image] = data["output"]["images"]
        answer = await asyncio.to_thread(comfyui.raw, "GET", "/view", params=image)
        assert answer.status_code == 200
        assert answer.content.startswith(b"\x89PNG")
        await asyncio.to_thread(comfyui.post, "/interrupt", {"prompt_id": prompt_id})
        heard = await page.over(prompt_id)
    assert kinds(heard)[-3:] == ["execution_interrupted", "status", "executing"]


@pytest.mark.seed("S5-48")
async def test_another_tenants_socket_hears_nothing_and_its_view_finds_nothing(comfyui: Native, other: Native) -> None:
    async with ears(comfyui.url, comfyui.key) as page, ears(other.url, other.key) as strange:
        await strange.hear()
        prompt_id = await queue(comfyui, tiny(color=0x101010), prompt_id="mine")
        await page.over(prompt_id)
        _, data = next(told for told in page.heard if told[0] == "executed")
        [image] = data["output"]["images"]
        assert (await asyncio.to_thread(other.raw, "GET", "/view", params=image)).status_code == 404
        assert await strange.silent()


@pytest.mark.seed("S5-36", "S5-52")
async def test_after_a_crash_of_the_gateway_the_client_comes_back_and_hears_the_rest(tmp_path: Path) -> None:
    def post(api: V1, graph: Graph) -> None:
        body = {"prompt": graph, "client_id": "page", "prompt_id": "mine"}
        assert api.raw("POST", "/prompt", json=body).status_code == 200

    with Sandbox() as sandbox, GatewayProcess(tmp_path / "state") as gateway:
        key = gateway.key()
        api = V1(gateway.url, key)
        api.register("s0", url=sandbox.url)
        async with ears(gateway.url, key) as page:
            await asyncio.to_thread(post, api, slow(steps=150, seconds=0.02))
            await page.until("progress", value=3)
            gateway.kill()
            await page.socket.wait_closed()
        await asyncio.to_thread(gateway.start)
        async with ears(gateway.url, key) as page:
            heard = await page.over("mine")
            history = await asyncio.to_thread(api.raw, "GET", "/history/mine")
        assert sum(record.outcome == "success" for record in sandbox.records) == len(sandbox.records) == 1
        api.close()
    assert history.json()["mine"]["status"]["completed"]
    assert kinds(heard)[-3:] == ["execution_success", "status", "executing"]


async def test_a_key_that_lapses_closes_the_socket(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "state") as gateway:
        async with ears(gateway.url, gateway.key(expires_in=1.0)) as page:
            assert (await page.hear())[0] == "status"
            await asyncio.wait_for(page.socket.wait_closed(), 10)
            assert (page.socket.close_code, page.socket.close_reason) == (4401, "expired_key")


async def test_who_may_not_run_jobs_may_not_listen_either(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "state") as gateway:
        async with ears(gateway.url, gateway.key(scopes=["backends"])) as page:
            await page.socket.wait_closed()
            assert (page.socket.close_code, page.socket.close_reason) == (4401, "scope_missing")
            assert page.heard == []
