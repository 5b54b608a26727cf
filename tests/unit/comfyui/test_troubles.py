"""What goes wrong with one prompt, one address or one socket is told of that one, with what to do, and stops no other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as websocket_server

from comfyone.comfyui import AsyncComfyUIClient, ComfyAPIClient, ComfyUIClient
from comfyone.comfyui.tracking import Book, Outcome
from comfyone.emulator import Sandbox
from comfyone.errors import (
    ComfyExecutionError,
    NotComfyUIError,
    PromptRejectedError,
    ServerUnreachableError,
    ValidationError,
)
from tests.graphs import tiny
from tests.unit.comfyui.conftest import FAST, QUICK
from tests.unit.sdk.conftest import Reply, Seen, Server

GOOD = {"prompt": [0, "good", {}, {}, []], "outputs": {}, "status": {"status_str": "success", "completed": True}}
ODD: list[Any] = [
    {"status": "unheard of"},
    {"status": {"status_str": "error", "messages": 5}},
    {"status": {"status_str": "error", "messages": [[], 3, ["execution_error"], ["execution_error", "why"]]}},
    {"status": {"status_str": ["error"]}, "outputs": [1], "prompt": "p"},
    {"status": {"status_str": "error", "messages": [["execution_error", {"traceback": 5, "exception_message": {}}]]}},
]


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_a_prompt_that_had_not_begun_when_it_was_interrupted_is_interrupted_again(server: Server) -> None:
    """ComfyUI lists a prompt as running, then forgets all interrupts, then begins it (``execution.py``)."""
    told: list[Any] = []
    status = {"status_str": "error", "completed": False, "messages": [["execution_interrupted", {"prompt_id": "p"}]]}

    def interrupt(seen: Seen) -> Reply:
        told.append(seen.json)
        return Reply(b"")

    server.routes["POST /interrupt"] = interrupt
    server.routes["GET /queue"] = lambda seen: Reply(
        {"queue_running": [] if len(told) > 1 else [[0, "p", {}, {}, []]], "queue_pending": []}
    )
    server.routes["GET /history/p"] = lambda seen: Reply({"p": {**GOOD, "status": status}} if len(told) > 1 else {})
    with ComfyUIClient(url=server.url, tracker=None, policy=FAST) as client:
        assert client.cancel_prompt("p") is True
    assert told == [{"prompt_id": "p"}] * 2


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_an_odd_history_entry_is_its_own_prompts_end_and_no_others(server: Server, odd: Any) -> None:
    server.routes["GET /queue"] = lambda seen: Reply({"queue_running": [], "queue_pending": []})
    server.routes["GET /history/odd"] = lambda seen: Reply({"odd": odd})
    server.routes["GET /history/good"] = lambda seen: Reply({"good": GOOD})
    with ComfyUIClient(url=server.url, tracker="http", policy=FAST, terms=QUICK) as client:
        first, second = client.future_of("odd"), client.future_of("good")
        assert second.result(10).prompt_id == "good"
        assert first.exception(10) is None or isinstance(first.exception(), ComfyExecutionError)
        client.book.watch("odd", lambda outcome: None)
        assert client.cancel_prompt("odd") is False


def test_who_cannot_take_an_end_is_told_so_and_the_others_take_it() -> None:
    first: list[Outcome] = []
    second: list[Outcome] = []

    def picky(outcome: Outcome) -> None:
        if outcome.entry is not None:
            raise KeyError("what")
        first.append(outcome)

    book = Book()
    for sink in (picky, second.append):
        book.watch("p", sink)
    book.in_history("p", GOOD)
    error = first[0].error
    assert isinstance(error, ComfyExecutionError)
    assert "its history entry can't be read: KeyError('what')" in str(error)
    assert (error.prompt_id, error.entry) == ("p", GOOD)
    assert second == [Outcome(entry=GOOD)]


def test_numbers_that_no_machine_holds_are_no_progress() -> None:
    book = Book()
    book.watch("p", lambda outcome: None, total=1)
    book.hear({"type": "progress", "data": {"prompt_id": "p", "node": "1", "value": 10**400, "max": 10**400}})
    progress = book.progress("p")
    assert progress is not None
    assert progress.fraction == 0


@pytest.mark.parametrize("wrong", [".", "..", 5, "\ud800", ["p"]], ids=repr)
async def test_what_is_no_id_is_refused_where_it_is_given_and_disturbs_nobody(sandbox: Sandbox, wrong: Any) -> None:
    with ComfyUIClient(url=sandbox.url, policy=FAST) as client:
        client.connect_websocket()
        wrongs: list[Callable[[], Any]] = [
            lambda: client.future_of(wrong),
            lambda: client.wait_for_completion(wrong, 5),
            lambda: client.submit(tiny(), prompt_id=wrong),
            lambda: client.queue_prompt(tiny(), prompt_id=wrong),
        ]
        future = client.submit(tiny())
        for refused in wrongs:
            with pytest.raises(ValidationError, match="prompt_id"):
                refused()
        assert future.result(10)
        assert client.get_queue().pending == []
    async with AsyncComfyUIClient(url=sandbox.url, policy=FAST) as other:
        for method in (other.future_of, other.wait_for_completion):
            with pytest.raises(ValidationError, match="prompt_id"):
                await method(wrong)
        with pytest.raises(ValidationError, match="prompt_id"):
            await other.submit(tiny(), prompt_id=wrong)
        assert await other.execute_workflow(tiny(), 10)


@pytest.fixture
def asked() -> list[list[str]]:
    """What each socket showed to be let in."""
    return []


@pytest.fixture
def leaving(asked: list[list[str]]) -> Iterator[str]:
    """A server that closes each socket once it was greeted."""

    def leave(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append(connection.request.headers.get_all("Authorization"))
        connection.recv()

    with websocket_server(leave, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(10)


async def test_two_header_fields_of_one_name_are_one_however_they_are_written(
    leaving: str, asked: list[list[str]]
) -> None:
    given: dict[str, Any] = {"url": leaving, "headers": {"authorization": "Basic one"}, "auth": "two", "policy": FAST}
    with ComfyUIClient(**given) as client, pytest.raises(ServerUnreachableError):
        client.connect_websocket(auto_reconnect=False)
    async with AsyncComfyUIClient(**given) as other:
        with pytest.raises(ServerUnreachableError):
            await other.connect_websocket(auto_reconnect=False)
    assert asked == [["Bearer two"]] * 2


async def test_a_socket_that_the_server_closes_says_so_with_the_address(leaving: str) -> None:
    said = f"ws{leaving.removeprefix('http')}/ws: the server closed the socket"
    with ComfyUIClient(url=leaving, policy=FAST) as client:
        with pytest.raises(ServerUnreachableError) as caught:
            client.connect_websocket(auto_reconnect=False)
        assert caught.value.message == said
        assert caught.value.hint == "check the address"
    async with AsyncComfyUIClient(url=leaving, policy=FAST) as other:
        with pytest.raises(ServerUnreachableError) as caught:
            await other.connect_websocket(auto_reconnect=False)
        assert caught.value.message == said
        assert caught.value.hint == "check the address"


async def test_a_proxy_that_only_the_blocking_client_can_use_is_told(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    async with AsyncComfyUIClient(url="http://comfy.test", policy=FAST) as client:
        with pytest.raises(ValidationError, match="the proxy of the environment"):
            await client.connect_websocket()


async def test_a_socket_that_is_not_answered_is_waited_for_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfyone.comfyui.aio._CONNECT_SECONDS", 1.0)

    def mute(handler: BaseHTTPRequestHandler) -> None:
        server.released.wait(30)

    server.routes["GET /ws"] = lambda seen: Reply(write=mute)
    server.routes["POST /prompt"] = lambda seen: Reply({"prompt_id": seen.json["prompt_id"], "number": 1})
    server.routes["GET /queue"] = lambda seen: Reply({"queue_running": [], "queue_pending": []})
    taken: list[float] = []
    async with AsyncComfyUIClient(url=server.url, policy=FAST) as client:
        for _ in range(4):
            started = time.monotonic()
            await client.submit(tiny())
            taken.append(time.monotonic() - started)
        server.released.set()
    assert taken[0] >= 1.0
    assert min(taken[1:]) < 0.5


@pytest.mark.parametrize(
    ("timeout", "expected"), [((5, 60), (5, 60)), ((30, 60), (30, 60)), (300, (10, 300)), (5, (5, 5))]
)
def test_a_timeout_may_be_two_numbers(timeout: Any, expected: tuple[float, float]) -> None:
    with ComfyUIClient(timeout=timeout) as client:
        assert (client.timeouts.connect, client.timeouts.read) == expected
    with pytest.raises(ValidationError):
        ComfyUIClient(timeout=(5, 0))


def test_what_to_do_fits_what_is_wrong(server: Server) -> None:
    with pytest.raises(ValidationError) as caught:
        ComfyUIClient(url="http://owl:hoot@127.0.0.1")
    assert "'auth'" in (caught.value.hint or "")
    secure = server.url.replace("http", "https")
    with ComfyUIClient(url=secure, policy=FAST) as client, pytest.raises(NotComfyUIError) as unlike:
        client.check()
    assert unlike.value.hint == "use http:// in place of https://"


async def test_metadata_that_is_none_is_a_typed_error(server: Server) -> None:
    server.script.append(Reply(b"<html>"))
    async with ComfyAPIClient(server.url) as client:
        with pytest.raises(NotComfyUIError, match="view_metadata"):
            await client.retrieve_metadata("embeddings", "x.safetensors")


async def test_headers_of_a_foreign_client_and_ours_are_one(server: Server) -> None:
    class Foreign:
        def __init__(self) -> None:
            self.headers = {"authorization": "Basic other"}

    async with ComfyAPIClient(server.url, Foreign(), headers={"Authorization": "Bearer ours"}) as client:
        await client.get_index()
    assert [value for name, value in server.seen[0].headers.items() if name.lower() == "authorization"] == [
        "Bearer ours"
    ]


async def test_folders_are_touched_in_threads_alone(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(Path, name)

        def method(self: Path, *arguments: Any, **named: Any) -> Any:
            if str(self).startswith(str(tmp_path)) and threading.current_thread() is threading.main_thread():
                loops.append(f"{name} {self}")
            return real(self, *arguments, **named)

        return method

    async with AsyncComfyUIClient(url=sandbox.url, policy=FAST) as client:
        execution = await client.execute_workflow(tiny(), 10)
        for name in ("is_dir", "mkdir"):
            monkeypatch.setattr(Path, name, noted(name))
        saved = await execution.save(tmp_path / "out")
        file = execution.files[0].file
        assert file is not None
        await client.download(file, tmp_path / "a.png")
        monkeypatch.undo()
    assert saved[0].parent == tmp_path / "out"
    assert (tmp_path / "a.png").read_bytes() == saved[0].read_bytes()
    assert loops == []


async def test_a_task_of_the_socket_never_dies_of_what_the_transport_refuses(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncComfyUIClient(url=sandbox.url, policy=FAST, reconnect_delay=0.01) as client:
        await client.connect_websocket()
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "")
        client.transport._ways.clear()  # as if nothing had been sent there yet
        sandbox.drop_sockets()
        await until(lambda: client._socket is not None and isinstance(client._socket.error, ValidationError))
        monkeypatch.undo()
        await until(lambda: client.ws_running)


@pytest.mark.parametrize(
    "told",
    [
        {"error": {"type": "t", "message": "m", "extra_info": 3}, "node_errors": {"1": {"errors": [3, None, "why"]}}},
        {"error": {"type": "t", "message": "m"}, "node_errors": {"1": {"errors": 5}, "2": None}},
        {"error": {"type": "t", "message": "m"}, "node_errors": {"1": {"errors": [{"extra_info": [1]}]}}},
    ],
    ids=range(3),
)
def test_a_rejection_is_one_however_oddly_its_nodes_are_told(server: Server, told: Any) -> None:
    server.script.append(Reply(told, 400))
    with (
        ComfyUIClient(url=server.url, tracker=None, policy=FAST) as client,
        pytest.raises(PromptRejectedError) as caught,
    ):
        client.queue_prompt(tiny())
    assert caught.value.node_errors == told["node_errors"]
