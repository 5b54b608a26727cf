"""Nobody waits for ever: not beside somebody who gives up, not on a client that was closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

from comfyone.comfyui import AsyncComfyUIClient, ComfyAPIClient, ComfyUIClient, WebsocketStateTracker
from comfyone.comfyui.tracking import Book, Outcome
from comfyone.emulator import Sandbox
from comfyone.errors import ComfyExecutionError, ComfyOneError
from comfyone.utils.logging import default_logger
from tests.graphs import sleeping, tiny
from tests.unit.comfyui.conftest import FAST, QUICK
from tests.unit.sdk.conftest import Reply, Seen, Server

ENTRY = {"prompt": [0, "p", {}, {}, []], "outputs": {}, "status": {"status_str": "success", "completed": True}}


async def test_who_gives_up_polling_takes_nobodys_looks_away(server: Server) -> None:
    asked, answer = threading.Event(), threading.Event()

    def queue(seen: Seen) -> Reply:
        asked.set()
        answer.wait(10)
        return Reply({"queue_running": [], "queue_pending": []})

    server.routes["GET /queue"] = queue
    server.routes["GET /history/p"] = lambda seen: Reply({"p": ENTRY})
    async with AsyncComfyUIClient(url=server.url, tracker=None, policy=FAST, terms=QUICK) as client:
        future = await client.future_of("p")
        hasty, patient = asyncio.create_task(client.poll()), asyncio.create_task(client.poll())
        await asyncio.to_thread(asked.wait, 10)
        hasty.cancel()
        await asyncio.wait([hasty])
        answer.set()
        assert await asyncio.wait_for(patient, 10) == 0
        assert future.done()
        assert not future.cancelled()


@pytest.mark.parametrize("tracker", ["websocket", "http", None])
def test_a_closed_client_takes_no_prompt(sandbox: Sandbox, tracker: Any) -> None:
    client = ComfyUIClient(url=sandbox.url, tracker=tracker, policy=FAST)
    client.close()
    wrongs: list[Callable[[], object]] = [
        lambda: client.submit(tiny()),
        lambda: client.future_of("p"),
        client.connect_websocket,
    ]
    for wrong in wrongs:
        with pytest.raises(ComfyOneError, match="is closed") as caught:
            wrong()
        assert caught.value.hint == "make a new one"
    assert not client.get_history()
    client.close()


@pytest.mark.parametrize("tracker", ["websocket", "http", None])
async def test_a_closed_asynchronous_client_takes_no_prompt(sandbox: Sandbox, tracker: Any) -> None:
    client = AsyncComfyUIClient(url=sandbox.url, tracker=tracker, policy=FAST)
    await client.close()
    for wrong in (lambda: client.submit(tiny()), lambda: client.future_of("p"), client.connect_websocket):
        with pytest.raises(ComfyOneError, match="is closed") as caught:
            await wrong()
        assert caught.value.hint == "make a new one"
    assert not client.ws_running
    await client.close()


async def test_a_tracker_may_be_stopped_after_its_client_was_closed_but_not_started(sandbox: Sandbox) -> None:
    client = ComfyAPIClient(sandbox.url)
    tracker = WebsocketStateTracker(client)
    await tracker.start()
    await client.close()
    await tracker.stop()
    with pytest.raises(ComfyOneError, match="is closed"):
        await tracker.start()


def test_who_begins_to_wait_when_all_waits_were_ended_is_told_at_once() -> None:
    book, early, late = Book(), list[Outcome](), list[Outcome]()
    book.watch("a", early.append)
    book.close(Outcome(cancelled=True))
    book.watch("b", late.append)
    assert early == late == [Outcome(cancelled=True)]
    assert len(book) == 0


def test_a_wait_that_closing_ended_says_so(client: ComfyUIClient, sandbox: Sandbox) -> None:
    client.connect_websocket()
    future = client.submit(sleeping(30))
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            client.wait_for_completion(future.prompt_id)
        except ComfyExecutionError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while len(client.book._watches[future.prompt_id].sinks) < 2:
        threading.Event().wait(0.01)
    client.close()
    waiting.join(10)
    assert "was cancelled, or its client was closed" in str(raised[0])
    with pytest.raises(CancelledError):
        future.result(1)


async def test_closing_waits_for_callbacks_that_are_coroutines(sandbox: Sandbox) -> None:
    ended: list[str] = []

    async def note(message: dict[str, Any]) -> None:
        await asyncio.sleep(0.3)
        ended.append((await client.get_system_stats()).system.os)

    async def leave(message: dict[str, Any]) -> None:
        await client.close()  # waits for the other, and not for itself
        ended.append("left")

    client = AsyncComfyUIClient(url=sandbox.url, policy=FAST)
    client.on("execution_start", note)
    client.on("execution_start", leave)
    future = await client.submit(sleeping(30))
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(future, 10)
    await client.close()
    await asyncio.sleep(0)
    assert len(ended) == 2


async def test_callbacks_that_never_end_are_not_waited_for_and_not_piled_up(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfyone.comfyui.tasks._MOST_CALLBACKS", 2)
    begun, ended = list[str](), list[str]()

    async def stuck(message: dict[str, Any]) -> None:
        begun.append(message["type"])
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(message["type"])

    client = AsyncComfyUIClient(url=sandbox.url, policy=FAST, logger=default_logger())
    client.on("executing", stuck)
    await client.execute_workflow(tiny(), 10)
    assert begun == ["executing"] * 2
    monkeypatch.setattr("comfyone.comfyui.aio._CONNECT_SECONDS", 0.2)
    async with asyncio.timeout(10):
        await client.close()
    assert ended == begun
