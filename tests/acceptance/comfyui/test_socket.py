"""ComfyUI's WebSocket: what a client hears through the gateway is what it would hear from the server itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfyone.emulator import Sandbox
from comfyone.gateway.dialects.comfyui import outbox
from tests.acceptance.comfyui.stage import HELLO, Ears, TenantOnStage, kinds, open_stage, plainly
from tests.graphs import Graph, empty, failing, node, save, sleeping, slow, speaking, text_to_image, tiny

ANIMATED = {
    "1": empty(7, batch_size=2),
    "2": node("SaveAnimatedPNG", images=["1", 0], filename_prefix="moving", fps=6.0, compress_level=4),
}
SHOWN = {"1": empty(8, batch_size=2), "2": node("PreviewImage", images=["1", 0]), "3": save("1", "deep/er")}
GRAPHS = {
    "a picture": tiny(),
    "steps with pictures": slow(steps=5, seconds=0.0, preview=True),
    "slower steps with pictures": slow(steps=4, seconds=0.02, preview=True),
    "an error": failing("on purpose"),
    "a text": speaking("words"),
    "a moving picture": ANIMATED,
    "a shown picture": SHOWN,
    "a painting": text_to_image("an owl", width=64, height=64),
    "two outputs": {**tiny(), "4": save("1", "other")},
}

Heard = list[Any]


async def post(sandbox: Sandbox, graph: Graph, client_id: str, prompt_id: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        body = {"prompt": graph, "client_id": client_id, "prompt_id": prompt_id}
        (await http.post(f"{sandbox.url}/prompt", json=body)).raise_for_status()


async def direct(graphs: list[Graph], hello: Any) -> Heard:
    """What the server itself tells of these graphs, one after another."""
    heard: Heard = []
    with Sandbox() as sandbox:
        async with Ears.open(sandbox.url, "clientId=page", hello=hello) as ears:
            await settled(ears, hello)
            for number, graph in enumerate(graphs):
                await post(sandbox, graph, "page", f"prompt-{number}")
                heard += plainly(await ears.over(), f"prompt-{number}")
                ears.heard.clear()
    return heard


async def settled(ears: Ears, hello: Any) -> None:
    """Until the connection has been greeted."""
    await ears.until("feature_flags" if hello else "status")
    ears.heard.clear()


@pytest.mark.seed("S5-22", "S5-23", "S5-24", "S5-25", "S5-26", "S5-27")
@pytest.mark.parametrize("hello", [None, HELLO], ids=["plain", "detailed"])
@pytest.mark.parametrize("name", GRAPHS)
async def test_a_client_hears_what_the_server_itself_would_tell(tmp_path: Path, name: str, hello: Any) -> None:
    graph, again, heard = GRAPHS[name], tiny(color=9), list[Any]()
    graphs = [graph, graph, again]  # the second time from the server's cache
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", sandbox)
            async with acme.ears("page", hello=hello) as ears:
                await settled(ears, hello)
                for number, one in enumerate(graphs):
                    job_id = await acme.submit(one, "page", f"prompt-{number}")
                    heard += plainly(await ears.over(), f"prompt-{number}", job_id)
                    ears.heard.clear()
                    assert (await acme.job(job_id)).finished_at is not None, "its end is committed before it is told"
    assert heard == await direct(graphs, hello)


def remaining(ears: Ears) -> list[int]:
    """Every length of the queue that was told."""
    return [data["status"]["exec_info"]["queue_remaining"] for type_, data in ears.heard if type_ == "status"]


async def idle(ears: Ears) -> None:
    """Until it has been told that nothing waits or runs any more."""
    while remaining(ears)[-1:] != [0]:
        await ears.hear()


@pytest.mark.parametrize("hello", [None, HELLO], ids=["plain", "detailed"])
async def test_an_interrupted_prompt_ends_as_with_the_server_itself(tmp_path: Path, hello: Any) -> None:
    async def interrupted(ears: Ears, prompt_id: str, interrupt: Callable[[], Awaitable[Any]]) -> list[Any]:
        await ears.until("executing", node="2", prompt_id=prompt_id)
        await interrupt()
        return await ears.over()

    graph = sleeping(30.0)
    with Sandbox() as sandbox, Sandbox() as alone:
        async with open_stage(tmp_path) as stage, httpx.AsyncClient(trust_env=False) as http:
            acme = await stage.tenant("acme", sandbox)
            async with (
                acme.ears("page", hello=hello) as ears,
                Ears.open(alone.url, "clientId=page", hello=hello) as own,
            ):
                await settled(ears, hello)
                await settled(own, hello)
                job_id = await acme.submit(graph, "page", "mine")
                await post(alone, graph, "page", "mine")
                heard = plainly(await interrupted(ears, "mine", lambda: acme.cancel(job_id)), "mine", job_id)
                told = plainly(await interrupted(own, "mine", lambda: http.post(f"{alone.url}/interrupt")), "mine")
    assert heard == told
    assert kinds(heard)[-3:] == ["execution_interrupted", "status", "executing"]


@pytest.mark.seed("S5-21", "S5-22", "S5-57")
async def test_the_first_message_is_the_status_with_the_clients_id(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        acme = await stage.tenant()
        for path in ("/ws", "/api/ws"):
            async with Ears.open(stage.url + path.removesuffix("/ws"), "clientId=page", key=acme.key) as ears:
                assert await ears.hear() == ("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "page"})
        async with Ears.open(stage.url, key=acme.key) as ears:
            type_, data = await ears.hear()
            assert type_ == "status"
            assert len(data["sid"]) == 32


@pytest.mark.seed("S5-62")
async def test_the_handshake_is_answered_when_it_is_the_first_message_and_never_later(tmp_path: Path) -> None:
    async with open_stage(tmp_path, max_upload=1234) as stage:
        acme = await stage.tenant()
        async with acme.ears("page") as ears:
            await ears.hear()
            await ears.say("no json")  # leaves the next one the first
            await ears.say(HELLO)
            features = {"supports_preview_metadata": True, "max_upload_size": 1234}
            assert await ears.hear() == ("feature_flags", features)
            await ears.say(HELLO)
            assert await ears.silent()


async def test_without_an_id_of_the_callers_own_the_jobs_id_is_told(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", sandbox)
            async with acme.ears("page") as ears:
                job_id = await acme.submit(tiny(), "page")
                heard = await ears.over()
    named = [data["prompt_id"] for type_, data in heard if type_ != "status"]
    assert set(named) == {job_id}
    (executed,) = [data for type_, data in heard if type_ == "executed"]
    assert executed["output"] == {"images": [{"filename": "tiny_00001_.png", "subfolder": job_id, "type": "output"}]}
    states = [data for type_, data in heard if type_ == "progress_state"]
    assert {state["prompt_id"] for data in states for state in data["nodes"].values()} == {job_id}


async def test_only_the_client_that_sent_a_prompt_hears_of_it_and_all_of_the_tenant_of_the_queue(
    tmp_path: Path,
) -> None:
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme, rival = await stage.tenant("acme", sandbox), await stage.tenant("rival", sandbox)
            async with acme.ears("one") as one, acme.ears("two") as two, rival.ears("one") as stranger:
                for ears in (one, two, stranger):
                    await ears.hear()
                await acme.submit(tiny(), "one", "mine")
                await acme.submit(tiny(color=2), "nobody", "other")
                await acme.submit(tiny(color=3), None, "silent")
                last = await acme.submit(tiny(color=4), "two", "yours")
                await one.over("mine")
                await two.over("yours")
                await acme.ended(last)
                await idle(one)
                await idle(two)
                assert await stranger.silent(), "another tenant hears nothing, whatever client id it has"
                assert {data["prompt_id"] for type_, data in one.heard if type_ != "status"} == {"mine"}
                assert {data["prompt_id"] for type_, data in two.heard if type_ != "status"} == {"yours"}
                assert max(remaining(two)) > 1


async def test_two_tenants_may_choose_the_same_ids_at_the_same_time(tmp_path: Path) -> None:
    with Sandbox() as first, Sandbox() as second:
        async with open_stage(tmp_path) as stage:
            acme, rival = await stage.tenant("acme", first), await stage.tenant("rival", second)
            async with acme.ears("page") as ours, rival.ears("page") as theirs:
                await asyncio.gather(
                    acme.submit(speaking("ours"), "page", "same"), rival.submit(speaking("theirs"), "page", "same")
                )
                for ears, word in ((ours, "ours"), (theirs, "theirs")):
                    heard = await ears.over("same")
                    assert [data["output"] for type_, data in heard if type_ == "executed"] == [{"text": [word]}]


@pytest.mark.seed("S5-59")
async def test_a_second_socket_with_the_same_client_id_takes_over_and_the_first_hears_no_more(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", sandbox)
            async with acme.ears("page") as first:
                await first.hear()
                async with acme.ears("page") as second:
                    await second.hear()
                    await acme.submit(tiny(), "page", "mine")
                    await second.over("mine")
                assert await first.silent()
                async with acme.ears("page") as third:  # after the second went, as if the first had never been
                    await third.hear()
                    await acme.submit(tiny(color=2), "page", "again")
                    await third.over("again")
                assert await first.silent()


async def test_who_comes_back_is_told_the_node_that_runs_and_hears_the_rest(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", sandbox)
            async with acme.ears("page") as ears:
                job_id = await acme.submit(sleeping(30.0), "page", "mine")
                await ears.until("executing", node="2")
            async with acme.ears("other") as other:
                assert (await other.hear())[1]["status"]["exec_info"]["queue_remaining"] == 1
                assert await other.silent(), "it is none of its prompts"
            async with acme.ears("page") as ears:
                assert (await ears.hear())[1] == {"status": {"exec_info": {"queue_remaining": 1}}, "sid": "page"}
                assert await ears.hear() == ("executing", {"node": "2"})
                await acme.cancel(job_id)
                await ears.over("mine")
                assert kinds(ears.heard)[2:] == ["execution_interrupted", "status", "executing"]


@pytest.mark.seed("S5-27")
async def test_a_prompt_that_no_backend_can_run_ends_with_an_error(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", sandbox)
            async with acme.ears("page") as ears:
                await ears.hear()
                await acme.learned()
                await acme.submit({"3": node("NoSuchNode")}, "page", "mine")
                heard = await ears.over("mine")
    assert [kind for kind in kinds(heard) if kind != "status"] == ["execution_error", "executing"]
    assert kinds(heard)[-2] == "status"
    (error,) = [data for type_, data in heard if type_ == "execution_error"]
    assert "NoSuchNode" in error["exception_message"]
    assert (error["prompt_id"], error["executed"], error["traceback"]) == ("mine", [], [])
    assert {"node_id", "node_type", "exception_type", "current_inputs", "current_outputs", "timestamp"} <= error.keys()


async def test_a_waiting_prompt_that_is_cancelled_leaves_without_a_word(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", sandbox)
            first = await acme.submit(sleeping(30.0), "another")
            waiting = [await acme.submit(tiny(color=color), "page") for color in (1, 2, 3)]
            async with acme.ears("page") as ears:
                assert (await ears.hear())[1]["status"]["exec_info"]["queue_remaining"] == 4
                for job_id in waiting:  # one of them waits at the backend
                    await acme.cancel(job_id)
                    await acme.ended(job_id)
                await ears.until("status", status={"exec_info": {"queue_remaining": 1}})
                await acme.cancel(first)
                await acme.ended(first)
                await idle(ears)
                assert set(kinds(ears.heard)) == {"status"}


async def test_a_file_is_to_be_had_as_soon_as_it_is_told_of(tmp_path: Path) -> None:
    graph = {**tiny(), "4": node("TestSleep", image=["1", 0], seconds=30.0), "5": save("4", "late")}
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", sandbox)
            async with acme.ears("page") as ears:
                job_id = await acme.submit(graph, "page")
                _, executed = await ears.until("executed")
                (image,) = executed["output"]["images"]
                dispatcher = stage.gateway.services.dispatcher
                content = await dispatcher.produced(job_id, image["filename"], "", image["type"])
                assert content is not None
                await acme.cancel(job_id)


async def test_a_job_that_moves_to_another_backend_is_told_from_its_new_beginning(tmp_path: Path) -> None:
    with Sandbox(hang=["ImageInvert"]) as hanging, Sandbox() as healthy:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", hanging)
            async with acme.ears("page") as ears:
                await acme.submit(tiny(), "page", "mine")
                await ears.until("executing", node="2")
                await acme.register(healthy, "s1")
                await acme.detach("s0")
                heard = await ears.over("mine")
    assert kinds(heard).count("execution_start") == 2
    assert kinds(heard).count("execution_success") == 1
    assert "execution_interrupted" not in kinds(heard), "only the first attempt was stopped"


async def refused(url: str, key: str | None) -> tuple[int, str]:
    async with Ears.open(url, "clientId=page", key=key) as ears:
        await ears.socket.wait_closed()
        return ears.socket.close_code or 0, ears.socket.close_reason or ""


@pytest.mark.seed("S5-46")
async def test_without_a_good_key_the_socket_is_closed_and_nothing_is_told(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        assert await refused(stage.url, None) == (4401, "missing_key")
        assert await refused(stage.url, "c1_nonsense") == (4401, "invalid_key")


@pytest.mark.parametrize("where", ["?api_key={key}&clientId=page", "path"])
async def test_a_key_may_come_in_the_address(tmp_path: Path, where: str) -> None:
    async with open_stage(tmp_path) as stage:
        acme = await stage.tenant()
        url = f"{stage.url}/k/{acme.key}" if where == "path" else stage.url
        query = "clientId=page" if where == "path" else f"api_key={acme.key}&clientId=page"
        async with Ears.open(url, query) as ears:
            assert (await ears.hear())[1]["sid"] == "page"


async def test_a_tenant_has_so_many_sockets_and_no_more(tmp_path: Path) -> None:
    async with open_stage(tmp_path, max_sockets=2) as stage:
        acme, rival = await stage.tenant("acme"), await stage.tenant("rival")
        async with acme.ears("one") as one, acme.ears("two") as two:
            await one.hear()
            await two.hear()
            assert await refused(stage.url, acme.key) == (4429, "queue_full")
            async with rival.ears("one") as other:
                await other.hear()
            await two.socket.close()
            async with acme.ears("three") as three:
                await three.hear()


async def test_a_slow_reader_loses_pictures_and_progress_but_no_end_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_PASSING", 256 * 1024)  # the system holds megabytes too
    chain = {f"c{number}": node("ImageInvert", image=[f"c{number - 1}", 0]) for number in range(1, 60)}
    graph = slow(steps=400, seconds=0.0, preview=True) | chain  # each step tells of all nodes
    graph["2"]["inputs"]["image"] = ["c59", 0]
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", sandbox)
            async with acme.ears("slow", hello=HELLO) as slow_one, acme.ears("quick") as quick:
                slow_one.socket.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024
                )
                slow_one.socket.transport.pause_reading()
                jobs = [await acme.submit({**graph, "c0": empty(color)}, "slow") for color in range(3)]
                for job_id in jobs:
                    assert (await acme.ended(job_id)).state == "succeeded"
                await acme.submit(tiny(), "quick", "mine")
                await quick.over("mine")
                slow_one.socket.transport.resume_reading()
                for job_id in jobs:
                    await slow_one.over(job_id)
    heard = slow_one.heard
    for type_ in ("execution_start", "executed", "execution_success"):
        assert [data["prompt_id"] for kind, data in heard if kind == type_] == jobs
    assert 0 < kinds(heard).count("progress") < 3 * 400
    assert kinds(heard).count("binary 4") < kinds(heard).count("progress")


async def test_what_a_server_says_while_its_socket_is_down_is_made_good_at_the_end(tmp_path: Path) -> None:
    graph = {**tiny(), "4": node("TestSleep", image=["1", 0], seconds=0.8), "5": save("4", "late")}
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", sandbox)
            async with acme.ears("page") as ears:
                job_id = await acme.submit(graph, "page", "mine")
                await ears.until("executed", node="3")
                sandbox.set(silent_sockets=True)
                heard = await ears.over("mine")
    outputs = {data["node"]: data["output"] for kind, data in heard if kind == "executed"}
    assert kinds(heard).count("executed") == 2
    assert outputs["5"] == {"images": [{"filename": "late_00001_.png", "subfolder": job_id, "type": "output"}]}
    assert kinds(heard)[-4:] == ["executed", "execution_success", "status", "executing"]


async def test_after_a_restart_of_the_gateway_the_rest_of_a_running_prompt_is_told(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_stage(tmp_path) as stage:
            acme = await stage.tenant("acme", sandbox)
            async with acme.ears("page") as ears:
                job_id = await acme.submit(slow(steps=100, seconds=0.02), "page", "mine")
                await ears.until("progress", value=3)
        async with open_stage(tmp_path) as stage:
            again = TenantOnStage(stage, "acme", acme.key, await stage.gateway.authenticator.authenticate(acme.key))
            async with again.ears("page") as ears:
                heard = await ears.over("mine")
                assert (await again.job(job_id)).state == "succeeded"
    assert kinds(heard)[0] == "status"
    assert "progress" in kinds(heard)
    assert {data["output"]["images"][0]["subfolder"] for kind, data in heard if kind == "executed"} == {job_id}
    assert kinds(heard)[-3:] == ["execution_success", "status", "executing"]


async def test_a_stopping_gateway_closes_its_sockets(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        acme = await stage.tenant()
        async with acme.ears("page") as ears:
            await ears.hear()
            stage.gateway.bus.close()
            await ears.socket.wait_closed()
            assert ears.socket.close_code == 1001
        async with acme.ears("page") as late:
            await late.socket.wait_closed()
            assert late.socket.close_code == 1001
