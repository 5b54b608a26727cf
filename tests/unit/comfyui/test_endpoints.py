"""What each method sends, seen by a server that answers by script."""

from __future__ import annotations

from typing import Any

import pytest

from comfyone.comfyui import ComfyUIClient
from comfyone.errors import ComfyUIError, NotComfyUIError, ServerUnreachableError, ValidationError
from tests.unit.comfyui.conftest import FAST
from tests.unit.sdk.conftest import Reply, Server, cut

JSON = {"Content-Type": "application/json"}
REQUESTS: list[tuple[str, tuple[Any, ...], dict[str, Any], str, str, dict[str, list[str]], Any]] = [
    ("list_userdata", (), {}, "GET", "/v2/userdata", {}, []),
    ("list_userdata", ("workflows",), {"recurse": True, "full_info": True, "split": True}, "GET", "/userdata",
     {"dir": ["workflows"], "recurse": ["true"], "full_info": ["true"], "split": ["true"]}, ["a.json"]),
    ("get_settings", (), {}, "GET", "/settings", {}, {"a": 1}),
    ("get_setting", ("Comfy.Dev",), {}, "GET", "/settings/Comfy.Dev", {}, None),
    ("get_setting", ("Comfy.Dev",), {}, "GET", "/settings/Comfy.Dev", {}, True),
    ("get_logs", (), {}, "GET", "/internal/logs", {}, "2026 - hello"),
    ("get_raw_logs", (), {}, "GET", "/internal/logs/raw", {}, {"entries": [], "size": {}}),
    ("get_folder_paths", (), {}, "GET", "/internal/folder_paths", {}, {"loras": ["/models"]}),
    ("get_server_files", ("input",), {}, "GET", "/internal/files/input", {}, ["a.png"]),
    ("get_workflow_templates", (), {}, "GET", "/workflow_templates", {}, {"pack": ["one"]}),
    ("get_translations", (), {}, "GET", "/i18n", {}, {}),
    ("get_users", (), {}, "GET", "/users", {}, {"storage": "server"}),
    ("create_user", ("me",), {}, "POST", "/users", {}, "me_1"),
    ("get_embeddings", (), {}, "GET", "/embeddings", {}, ["neg"]),
    ("get_metadata", ("loras", "a.safetensors"), {}, "GET", "/view_metadata/loras", {"filename": ["a.safetensors"]}, {"k": "v"}),
    ("move_userdata", ("a/b.json", "c d.json"), {}, "POST", "/userdata/a%2Fb.json/move/c%20d.json",
     {"overwrite": ["true"], "full_info": ["false"]}, "c d.json"),
]  # fmt: skip


@pytest.fixture
def client(server: Server) -> Any:
    with ComfyUIClient(url=server.url, policy=FAST) as client:
        yield client


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: f"{case[0]}{case[1]}")
def test_a_method_sends_its_request_and_gives_the_answer(client: ComfyUIClient, server: Server, case: Any) -> None:
    name, arguments, named, method, path, query, body = case
    server.script.append(Reply(body, headers=JSON))
    assert getattr(client, name)(*arguments, **named) == body
    [seen] = server.seen
    assert (seen.method, seen.path, seen.query) == (method, path, query)


def test_files_of_the_user_are_written_as_they_are(client: ComfyUIClient, server: Server) -> None:
    for content, body in [(b"\x00raw", b"\x00raw"), ("texť", "texť".encode()), ({"a": [1]}, b'{"a":[1]}')]:
        server.script.append(Reply("workflows/x.json", headers=JSON))
        assert client.save_userdata("workflows/x.json", content, overwrite=False) == "workflows/x.json"
        assert server.seen[-1].body == body
        assert server.seen[-1].path == "/userdata/workflows%2Fx.json"
        assert server.seen[-1].query["overwrite"] == ["false"]
    server.script.append(Reply(b"content"))
    assert client.get_userdata("workflows/x.json") == b"content"
    server.script.append(Reply(b"", 204))
    client.delete_userdata("workflows/x.json")
    assert server.seen[-1].method == "DELETE"
    with pytest.raises(ValidationError):
        client.get_userdata("..")


def test_settings_are_changed_one_by_one_or_together(client: ComfyUIClient, server: Server) -> None:
    server.script.extend([Reply(b""), Reply(b""), Reply(b"")])
    assert client.set_setting("Comfy.Dev", False) == {}
    assert (server.seen[-1].path, server.seen[-1].body) == ("/settings/Comfy.Dev", b"false")
    client.set_setting("Comfy.Dev", None)
    assert (server.seen[-1].path, server.seen[-1].json) == ("/settings", {"Comfy.Dev": None})
    client.set_settings({"a": 1})
    assert server.seen[-1].json == {"a": 1}


@pytest.mark.parametrize("call", ["clear_queue", "interrupt_execution", "clear_history"])
def test_what_would_hit_another_the_second_time_is_not_repeated(
    client: ComfyUIClient, server: Server, call: str
) -> None:
    server.script.extend([Reply(write=cut), Reply(b"")])
    with pytest.raises(ServerUnreachableError):
        getattr(client, call)()
    assert len(server.seen) == 1


@pytest.mark.seed("S5-42", "S2-9")
def test_what_reads_is_repeated(client: ComfyUIClient, server: Server) -> None:
    server.script.extend([Reply(write=cut), Reply(b"", 500), Reply({"queue_running": [], "queue_pending": []})])
    assert client.get_queue().running == []
    assert len(server.seen) == 3


@pytest.mark.seed("S5-41", "S2-9")
@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<html>It works!</html>", headers={"Content-Type": "text/html"}),
        Reply(b"Not Found", 404),
        Reply(b"", 405),
        Reply(b"[]", headers=JSON),
        Reply(b"", 301, {"Location": "https://elsewhere.example/login"}),
    ],
    ids=["page", "404", "405", "list", "login"],
)
def test_what_answers_like_no_comfyui_is_called_so(client: ComfyUIClient, server: Server, reply: Reply) -> None:
    if reply.status == 301:
        server.routes["GET /login"] = lambda seen: Reply(b"<html>log in</html>")
        reply.headers["Location"] = f"{server.url}/login"
    server.script.append(reply)
    with pytest.raises(NotComfyUIError, match="GET system_stats") as caught:
        client.check()
    assert isinstance(caught.value, ConnectionError)
    assert "page opens" in str(caught.value)


def test_a_file_that_is_missing_is_no_reason_to_doubt_the_server(client: ComfyUIClient, server: Server) -> None:
    server.script.append(Reply(b"", 404))
    with pytest.raises(ComfyUIError) as caught:
        client.get_image("nowhere.png")
    assert not isinstance(caught.value, NotComfyUIError)


@pytest.mark.seed("S2-9")
def test_a_server_that_is_down_and_one_that_speaks_another_language_are_told_apart(server: Server) -> None:
    with ComfyUIClient(port=9, policy=FAST) as nobody, pytest.raises(ServerUnreachableError) as down:
        nobody.get_queue()
    assert "refused" in str(down.value)
    assert isinstance(down.value, ConnectionError)

    def babble(handler: Any) -> None:
        handler.connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
        cut(handler)

    server.routes["GET /queue"] = lambda seen: Reply(write=babble)
    with ComfyUIClient(url=server.url, policy=FAST) as other, pytest.raises(NotComfyUIError):
        other.get_queue()
    with ComfyUIClient(url=server.url.replace("http", "https"), policy=FAST) as other, pytest.raises(NotComfyUIError):
        other.get_queue()


def test_what_the_server_says_of_an_error_is_in_it_but_no_page(client: ComfyUIClient, server: Server) -> None:
    server.script.append(Reply(b"Directory not provided", 400))
    with pytest.raises(ComfyUIError, match="Directory not provided"):
        client.list_userdata("x")
    server.script.append(Reply(b"<html>nginx</html>", 403))
    with pytest.raises(ComfyUIError) as caught:
        client.list_userdata("x")
    assert "nginx" not in str(caught.value)


def test_what_the_prompt_says_of_a_page_in_its_place(client: ComfyUIClient, server: Server) -> None:
    server.script.append(Reply(b"", 404))
    with pytest.raises(NotComfyUIError):
        client.queue_prompt({"1": {"class_type": "X", "inputs": {}}})
